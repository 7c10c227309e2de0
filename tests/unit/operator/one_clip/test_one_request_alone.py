"""What a server, an input or a store does wrong costs its own request something, nobody else, and not for ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kinema_api import generation, layout, serving
from kinema_api.base import find_condition
from kinema_api.objectstore import StoreLocation
from kinema_api.objectstores import FolderStore
from kinema_api.wire import WorkOrder
from unit.operator.one_clip.test_one_clip import BEYOND_ALL_STEPS, assert_one_clip, first_server, one_request
from unit.operator.one_clip.world import FolderStores, World

NewWorld = Callable[[], World]
LONG = 500
"""Rounds of two seconds: longer than any limit."""


def only_first(world: World, change: Callable[[Any], None]) -> None:
    """Something is wrong with the first server, and with no other."""
    seen: list[Any] = []

    def prepare(server: Any) -> None:
        if not seen:
            change(server)
        seen.append(server)

    world.prepare = prepare


def patient(world: World) -> None:
    """No server falls silent only because the machine is busy."""
    world.settings = world.settings.model_copy(update={"pod_timeout_seconds": 10.0})


def reason(world: World, name: str, type_: str) -> str:
    found = find_condition(world.generation(name).status.conditions, type_)
    return found.reason if found else ""


def with_result(**fields: Any) -> Callable[[dict[str, Any]], str]:
    return lambda state: json.dumps({**state, "result": {**state["result"], **fields}})


@pytest.mark.parametrize(
    "lie",
    [
        with_result(size="9" * 300),
        with_result(seconds=float("nan")),
        with_result(fps=float("inf")),
        with_result(denoiseSeconds=-1),
        with_result(seams=[{"frame": 10**30, "jump": 1, "usual": 1}]),
        lambda state: json.dumps({**state, "step": -5}),
        lambda state: json.dumps({**state, "error": "x" * 1_000_000}),
        lambda _state: "[" * 10_000,
    ],
    ids=["long size", "nan", "infinity", "negative", "huge number", "negative step", "huge body", "nested"],
)
async def test_an_answer_that_cannot_be_kept_costs_one_attempt(
    new_world: NewWorld, lie: Callable[[dict[str, Any]], str]
) -> None:
    world = new_world()
    one_request(world)
    only_first(world, lambda server: setattr(server, "lies", lie))
    operator = world.operator()
    await world.run(operator, lambda: world.generation("red-square").status.failures > 0)
    assert world.generation("red-square").status.phase == "Pending"
    assert operator.errors == []
    for server in world.all_servers:
        server.lies = None
    await world.run(operator, world.all_ended)
    assert_one_clip(world, "red-square")


async def test_a_request_whose_store_has_no_address_keeps_nobody_from_the_model(new_world: NewWorld) -> None:
    world = new_world()
    world.apply_model()
    store = {"endpoint": "http://store:99999", "bucket": "clips", "secretRef": {"name": "keys"}}
    world.ask("bad", artifactStore=store)
    world.ask("good")
    await world.run(world.operator(), lambda: world.generation("good").status.phase == "Succeeded")
    assert_one_clip(world, "good")


async def test_a_request_that_cannot_be_looked_at_is_still_cancelled(new_world: NewWorld) -> None:
    class Unforeseen(FolderStores):
        async def for_object(self, namespace: str, artifact_store: object) -> FolderStore:
            raise ValueError("what no store should ever raise")

    world = new_world()
    one_request(world)
    operator = world.operator()
    await world.run(operator, lambda: world.generation("red-square").status.delivery is not None)
    world.stores = Unforeseen(world.store)
    operator = world.operator()
    world.edit(generation.KIND, "red-square", cancel=True)
    await world.run(operator, world.all_ended)
    assert world.generation("red-square").status.phase == "Cancelled"


async def test_a_server_that_renders_for_ever_ends_with_the_deadline_and_its_limit(new_world: NewWorld) -> None:
    world = new_world()
    patient(world)
    world.apply_model()
    world.ask("red-square", deadlineSeconds=60)

    def endless(server: Any) -> None:
        server.total_steps, server.deaf = BEYOND_ALL_STEPS, True

    only_first(world, endless)
    await world.run(world.operator(), world.all_ended, rounds=LONG)
    assert reason(world, "red-square", "Failed") == "DeadlineExceeded"
    assert not [p for p in world.api.list("Pod", "studio") if p["metadata"]["uid"] == _first_uid(world)]


async def test_a_server_that_makes_no_step_any_more_costs_its_pod_and_not_the_clip(new_world: NewWorld) -> None:
    world = new_world()
    world.apply_model()
    world.ask("red-square", deadlineSeconds=80000)
    only_first(world, lambda server: setattr(server, "stuck", True))
    await world.run(world.operator(), world.all_ended, rounds=LONG)
    assert_one_clip(world, "red-square")
    assert world.generation("red-square").status.failures == 1


async def test_cancelling_ends_though_the_server_does_not_stop(new_world: NewWorld) -> None:
    world = new_world()
    patient(world)
    one_request(world)

    def deaf(server: Any) -> None:
        server.total_steps, server.deaf = BEYOND_ALL_STEPS, True

    only_first(world, deaf)
    operator = world.operator()
    await world.run(operator, lambda: world.generation("red-square").status.phase == "Running")
    world.edit(generation.KIND, "red-square", cancel=True)
    await world.run(operator, world.all_ended, rounds=LONG)
    assert world.generation("red-square").status.phase == "Cancelled"


def _first_uid(world: World) -> str | None:
    return next((e for e in [world.generation("red-square").status.server_uid] if e), None)


async def test_an_input_that_vanished_gives_its_server_back(new_world: NewWorld) -> None:
    world = new_world()
    world.apply_model()
    world.ask("first")
    operator = await world.run(world.operator(), world.all_ended)
    world.ask("longer", task="extend", input={"generation": "first"})
    await world.run(operator, lambda: world.generation("longer").status.phase == "Scheduled")
    world.store.delete(layout.generation_prefix("studio", "uid-first") + layout.VIDEO)
    world.ask("other")
    await world.run(operator, lambda: world.generation("other").status.phase == "Succeeded")
    longer = world.generation("longer").status
    assert (longer.phase, reason(world, "longer", "Scheduled")) == ("Pending", "InputNotFound")


@pytest.mark.parametrize("end", ["cancel", "deadline"])
async def test_a_store_that_is_gone_at_the_commit_holds_no_request(new_world: NewWorld, end: str) -> None:
    world = new_world()
    world.apply_model()
    world.ask("red-square", deadlineSeconds=120)
    operator = world.operator()
    await world.run(operator, lambda: world.generation("red-square").status.delivery is not None)
    world.stores.reachable = False
    await operator.look_around()
    assert world.generation("red-square").status.phase == "Running"
    if end == "cancel":
        world.edit(generation.KIND, "red-square", cancel=True)
    await world.run(operator, world.all_ended, rounds=LONG)
    assert world.generation("red-square").status.phase == {"cancel": "Cancelled", "deadline": "Failed"}[end]


async def test_a_deleted_request_stops_its_server(new_world: NewWorld) -> None:
    world = new_world()
    one_request(world)
    world.prepare = lambda server: setattr(server, "total_steps", BEYOND_ALL_STEPS)
    operator = world.operator()
    await world.run(operator, lambda: world.generation("red-square").status.phase == "Running")
    await operator.look_around()
    server = world.server_of("red-square")
    assert server is not None
    del world.api.objects[(generation.KIND, "studio", "red-square")]
    await operator.look_at(generation.KIND, "red-square")
    assert server.orders["uid-red-square"].phase == "cancelled"


async def test_an_older_server_that_does_not_understand_the_order_leaves_it_to_a_newer_one(new_world: NewWorld) -> None:
    world = new_world()
    world.apply_model(maxReplicas=1)
    world.ask("red-square")
    only_first(world, lambda server: setattr(server, "older", True))
    operator = world.operator()
    await world.run(operator, lambda: world.generation("red-square").status.attempt > 0)
    for _ in range(4):
        await operator.look_around()
    assert world.generation("red-square").status.phase == "Pending"
    world.all_servers[0].dies = True
    await world.run(operator, world.all_ended)
    assert_one_clip(world, "red-square")
    assert world.generation("red-square").status.failures == 0


async def test_a_free_server_that_does_not_answer_is_passed_over_at_once(new_world: NewWorld) -> None:
    world = new_world()
    world.apply_model(maxReplicas=2, minReplicas=2)
    operator = world.operator()
    await world.run(operator, lambda: len(list(world.api.list("Pod", "studio"))) == 2)
    dead, alive = (world.servers[name] for name in sorted(world.servers))
    dead.alive.clear()
    world.ask("red-square")
    await world.run(operator, world.all_ended)
    assert [order.name for order in alive.given] == ["red-square"]
    assert world.generation("red-square").status.failures == 0
    dead.alive.set()


class Asked(FolderStores):
    """One folder for all, that notes which store was asked for."""

    def __init__(self, store: FolderStore) -> None:
        super().__init__(store)
        self.buckets: set[str | None] = set()

    async def for_object(self, namespace: str, artifact_store: Any) -> FolderStore:
        self.buckets.add(artifact_store and artifact_store.bucket)
        return await super().for_object(namespace, artifact_store)


async def test_the_stores_of_an_accepted_request_stay_whatever_becomes_of_the_model(new_world: NewWorld) -> None:
    world = new_world()
    stores = world.stores = Asked(world.store)
    one_request(world)
    operator = world.operator()
    await world.run(operator, lambda: world.generation("red-square").status.phase == "Running")
    stores.buckets.clear()
    other = {"endpoint": "http://other:9000", "bucket": "elsewhere", "secretRef": {"name": "keys"}}
    world.edit(serving.KIND, "tiny", artifactStore=other)
    await world.run(operator, world.all_ended)
    assert_one_clip(world, "red-square")
    assert stores.buckets == {None}


async def test_a_clip_is_committed_although_its_model_was_deleted(new_world: NewWorld) -> None:
    world = new_world()
    stores = world.stores = Asked(world.store)
    own = {"endpoint": "http://own:9000", "bucket": "own-bucket", "secretRef": {"name": "keys"}}
    one_request(world)
    world.edit(serving.KIND, "tiny", artifactStore=own)
    operator = world.operator()
    await world.run(operator, lambda: world.generation("red-square").status.delivery is not None)
    stores.buckets.clear()
    del world.api.objects[(serving.KIND, "studio", "tiny")]
    await world.run(operator, world.all_ended)
    assert_one_clip(world, "red-square")
    assert stores.buckets == {"own-bucket"}


class S3Folder(FolderStore):
    """A folder that names its objects as S3 does, and signs addresses of its files."""

    def uri(self, key: str) -> str:
        return f"s3://kinema/{key}"

    def presign_get(self, key: str, expires: Any, *, public: bool = False) -> str:
        return self._path(key).as_uri()

    def presign_put(self, key: str, expires: Any) -> str:
        return self._path(key).as_uri()


def as_s3(world: World) -> None:
    store = S3Folder(StoreLocation(endpoint=world.store.location.endpoint, bucket="kinema"))
    world.store = store
    world.stores = FolderStores(store)


def bytes_at(url: str) -> bytes:
    return Path(url.removeprefix("file://")).read_bytes()


async def test_every_attempt_works_on_the_input_as_it_was_when_the_request_was_accepted(new_world: NewWorld) -> None:
    world = new_world()
    as_s3(world)
    source = layout.inputs_prefix("studio") + "clip.mp4"
    world.store.put(source, b"what was uploaded")
    world.apply_model()
    world.ask("longer", task="extend", input={"uri": f"s3://kinema/{source}"})

    def exchange(server: Any, _order: WorkOrder) -> None:
        if not exchanged:
            exchanged.append(True)
            world.store.put(source, b"something else, later")
            server.dies = True

    exchanged: list[bool] = []
    world.prepare = lambda server: setattr(server, "on_order", exchange)
    await world.run(world.operator(), world.all_ended)
    orders = [order for server in world.all_servers for order in server.given]
    assert len(orders) == 2
    assert {order.inputs[0].sha256 is not None for order in orders} == {True}
    assert len({order.inputs[0].sha256 for order in orders}) == 1


async def test_an_input_that_changed_before_it_was_used_fails_the_request(new_world: NewWorld) -> None:
    world = new_world()
    as_s3(world)
    source = layout.inputs_prefix("studio") + "clip.mp4"
    world.store.put(source, b"what was uploaded")
    world.apply_model()
    world.ask("longer", task="extend", input={"uri": f"s3://kinema/{source}"})
    operator = world.operator()
    await world.run(operator, lambda: world.generation("longer").status.phase == "Scheduled")
    world.store.put(source, b"something else, later")
    await world.run(operator, world.all_ended)
    assert reason(world, "longer", "Failed") == "InputChanged"


async def test_a_request_that_lost_its_status_finds_its_clip_and_renders_nothing(new_world: NewWorld) -> None:
    world = new_world()
    one_request(world)
    operator = await world.run(world.operator(), world.all_ended)
    before = world.generation("red-square").status
    obj = world.api.get(generation.KIND, "studio", "red-square")
    assert obj is not None
    world.api.put({key: value for key, value in obj.items() if key != "status"})
    world.api.attempts.clear()
    world.all_servers[0].dies = True
    await world.run(operator, world.all_ended)
    after = world.generation("red-square").status
    assert sum(len(server.given) for server in world.all_servers) == 1
    assert before.video is not None
    assert after.video is not None
    assert (after.phase, after.video.sha256, after.seed) == ("Succeeded", before.video.sha256, before.seed)


def keys(world: World, name: str) -> list[str]:
    prefix = layout.generation_prefix("studio", f"uid-{name}")
    return sorted(stat.key.removeprefix(prefix) for stat in world.store.list(prefix))


async def settle(world: World, operator: Any, rounds: int = 6) -> None:
    count = 0

    def enough() -> bool:
        nonlocal count
        count += 1
        return count > rounds

    await world.run(operator, enough)


async def test_attempts_are_cleaned_up_once_the_clip_is_committed(new_world: NewWorld) -> None:
    world = new_world()
    first_server(world, lambda server: setattr(server, "dies", True))
    operator = await world.run(world.operator(), world.all_ended)
    await settle(world, operator)
    assert layout.VIDEO in keys(world, "red-square")
    assert [key for key in keys(world, "red-square") if "/" in key] == []
    assert_one_clip(world, "red-square")


async def test_a_clip_is_deleted_after_its_retention_and_the_resource_after_its_ttl(new_world: NewWorld) -> None:
    world = new_world()
    world.apply_model()
    world.ask("short", retentionSeconds=30, ttlSecondsAfterFinished=60)
    world.ask("kept")
    operator = await world.run(world.operator(), world.all_ended)
    assert layout.VIDEO in keys(world, "short")
    await world.run(operator, lambda: not keys(world, "short"))
    assert world.generation("short").status.phase == "Succeeded"
    await world.run(operator, lambda: world.api.get(generation.KIND, "studio", "short") is None)
    assert_one_clip(world, "kept")


async def test_what_the_model_could_make_nothing_of_is_told_in_status(new_world: NewWorld) -> None:
    world = new_world()
    one_request(world)
    heard = {"tokens": 128, "limit": 128, "cut": "in the snow", "unseenWords": ["golden", "retriever"]}
    world.prepare = lambda server: setattr(server, "lies", with_result(prompt=heard))
    await world.run(world.operator(), world.all_ended)
    found = world.api.get(generation.KIND, "studio", "red-square")
    assert found is not None
    assert found["status"].get("prompt") == heard
    said = next(c["message"] for c in found["status"]["conditions"] if c["type"] == "Succeeded")
    assert "these words did not occur in training: golden, retriever" in said
    assert ("red-square", "PromptNotHeard") in world.api.events
