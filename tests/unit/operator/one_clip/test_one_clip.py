"""Whatever dies between two writes, one clip comes of one request, whole and from one attempt."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kinema_api import generation, layout, serving
from kinema_operator.generation.effects import Commit

NewWorld = Callable[[], Any]

BEYOND_ALL_STEPS = 10_000


def assert_one_clip(world: Any, name: str) -> None:
    found = world.generation(name)
    status = found.status
    assert status.phase == "Succeeded", status
    assert status.delivery is None
    assert status.video is not None
    folder = layout.generation_prefix(found.metadata.namespace, found.metadata.uid)
    contents = {}
    for file in (layout.VIDEO, layout.THUMBNAIL, layout.SPRITESHEET, layout.REQUEST):
        data = world.store.get(folder + file)
        contents[file] = json.loads(data)
    video = world.store.get(folder + layout.VIDEO)
    assert status.video.sha256 == hashlib.sha256(video).hexdigest()
    assert status.video.bytes == len(video)
    for file, (uid, attempt, written, seed, late) in contents.items():
        assert (uid, attempt, written, seed) == (found.metadata.uid, status.attempt, file, status.seed)
        assert not late
    attempts = world.api.attempts[name]
    assert attempts == sorted(attempts)
    assert world.api.events.count((name, "Succeeded")) <= 1


async def steps_of(make: NewWorld, arrange: Callable[[Any], None]) -> int:
    """How many places to be killed at there are in an undisturbed run."""
    world = make()
    arrange(world)
    operator = world.operator(BEYOND_ALL_STEPS)
    await world.run(operator, world.all_ended)
    return int(operator.wire.steps)


def one_request(world: Any) -> None:
    world.apply_model()
    world.ask("red-square")


def first_server(world: Any, on_order: Callable[[Any], None]) -> None:
    """Something happens to the first server as soon as it has the order."""
    one_request(world)
    chosen: list[Any] = []

    def prepare(server: Any) -> None:
        if not chosen:
            chosen.append(server)
            server.on_order = lambda s, _order: on_order(s)

    world.prepare = prepare


def dying_server(world: Any) -> None:
    """Its pod is lost."""
    first_server(world, lambda server: setattr(server, "dies", True))


def restarted_server(world: Any) -> None:
    """Its container is restarted in the same pod, and has forgotten everything."""

    def restart(server: Any) -> None:
        asyncio.get_running_loop().call_later(0.005, server.orders.clear)
        server.on_order = None

    first_server(world, restart)


def hanging_server(world: Any) -> None:
    """It is stopped in the middle of the order, as by SIGSTOP."""
    first_server(world, lambda server: server.alive.clear())


@pytest.mark.parametrize("arrange", [one_request, dying_server, restarted_server, hanging_server])
async def test_operator_killed_between_any_two_writes(new_world: NewWorld, arrange: Callable[[Any], None]) -> None:
    steps = await steps_of(new_world, arrange)
    assert steps > 12
    for at in range(1, steps + 2):
        world = new_world()
        arrange(world)
        await world.run(world.operator(at), world.all_ended)
        assert_one_clip(world, "red-square")


async def test_a_server_that_wakes_late_changes_no_byte(new_world: NewWorld) -> None:
    world = new_world()
    hanging_server(world)
    operator = await world.run(world.operator(), world.all_ended)
    stopped = world.all_servers[0]
    assert stopped.given
    assert world.generation("red-square").status.attempt == 2
    stopped.wake_late()
    await operator.look_around()
    assert_one_clip(world, "red-square")


async def test_an_address_that_is_about_to_end_is_signed_again(new_world: NewWorld) -> None:
    world = new_world()
    world.settings = world.settings.model_copy(update={"status_urls": True})
    one_request(world)
    operator = await world.run(world.operator(), world.all_ended)
    obj = world.api.get(generation.KIND, "studio", "red-square")
    before = obj["status"]["video"]
    long_ago = {**before, "urlExpires": "2025-01-01T00:00:00Z"}
    world.api.put({**obj, "status": {**obj["status"], "video": long_ago}})
    await operator.look_around()
    video = world.generation("red-square").status.video
    assert (video.uri, video.sha256) == (before["uri"], before["sha256"])
    assert video.url_expires > datetime.now(UTC) + timedelta(days=6)


async def test_the_silent_pod_is_replaced_when_it_was_the_only_one(new_world: NewWorld) -> None:
    world = new_world()
    hanging_server(world)
    await world.run(world.operator(), world.all_ended)
    assert world.all_servers[0] not in [s for name, s in world.servers.items() if world.api.get("Pod", "studio", name)]


async def test_a_server_that_writes_again_after_it_reported_is_not_committed(new_world: NewWorld) -> None:
    world = new_world()
    one_request(world)
    operator = world.operator()
    await world.run(operator, lambda: world.generation("red-square").status.phase == "Running")
    server = world.server_of("red-square")
    uid = world.generation("red-square").metadata.uid
    while server.orders[uid].phase != "succeeded":
        server._advance(server.orders[uid])
    server.wake_late()
    await world.run(operator, world.all_ended)
    assert world.generation("red-square").status.attempt == 2
    assert world.generation("red-square").status.failures == 1
    assert_one_clip(world, "red-square")


async def test_a_commit_held_back_by_a_dead_leader_changes_no_byte(new_world: NewWorld) -> None:
    steps = await steps_of(new_world, one_request)
    held_commits = 0
    for at in range(1, steps + 2):
        world = new_world()
        one_request(world)
        first = world.operator(at)
        await world.run(first, world.all_ended)
        for key, obj, effect in list(first.generations.held):
            if isinstance(effect, Commit):
                held_commits += 1
                first.wire.at = None
                await first.generations.perform(key, obj, effect)
        assert_one_clip(world, "red-square")
    assert held_commits


async def test_more_requests_than_servers_are_served_in_order(new_world: NewWorld) -> None:
    world = new_world()
    world.apply_model(maxReplicas=2)
    for number in range(6):
        world.ask(f"clip-{number}")
    await world.run(world.operator(), world.all_ended)
    for number in range(6):
        assert_one_clip(world, f"clip-{number}")
        assert world.generation(f"clip-{number}").status.attempt == 1
    started = [order.name for server in world.all_servers for order in server.given]
    assert len(world.all_servers) == 2
    assert sorted(started) == sorted(f"clip-{number}" for number in range(6))
    finished = [name for name, reason in world.api.events if reason == "Scheduled"]
    assert finished == sorted(finished)


async def test_scales_to_zero_when_idle(new_world: NewWorld) -> None:
    world = new_world()
    world.apply_model(idleSeconds=10)
    world.ask("red-square")
    operator = await world.run(world.operator(), world.all_ended)

    def gone() -> bool:
        model = world.api.get(serving.KIND, "studio", "tiny")
        return model["status"]["phase"] == "ScaledToZero" and not list(world.api.list("Pod", "studio"))

    await world.run(operator, gone)
    versions = {key: obj["metadata"]["resourceVersion"] for key, obj in world.api.objects.items()}
    await world.operator().look_around()
    assert versions == {key: obj["metadata"]["resourceVersion"] for key, obj in world.api.objects.items()}


async def test_a_server_that_always_fails_exhausts_the_attempts(new_world: NewWorld) -> None:
    world = new_world()
    one_request(world)
    world.prepare = lambda server: setattr(server, "fails_with", ("the disk is full; free some space", True))
    await world.run(world.operator(), world.all_ended)
    status = world.generation("red-square").status
    assert (status.phase, status.attempt) == ("Failed", world.settings.generation_attempts)
    message = next(c.message for c in status.conditions if c.type == "Failed")
    assert "the disk is full" in message


async def test_what_no_server_can_do_fails_at_once_with_the_servers_sentence(new_world: NewWorld) -> None:
    world = new_world()
    one_request(world)
    world.prepare = lambda server: setattr(server, "fails_with", ("size 25x25 is odd; ask for an even size", False))
    await world.run(world.operator(), world.all_ended)
    status = world.generation("red-square").status
    assert (status.phase, status.attempt) == ("Failed", 1)
    assert "ask for an even size" in next(c.message for c in status.conditions if c.type == "Failed")


async def test_a_refused_order_fails_with_the_servers_sentence(new_world: NewWorld) -> None:
    world = new_world()
    world.apply_model()
    world.ask("unprintable", prompt="a\x07bell")
    await world.run(world.operator(), world.all_ended)
    status = world.generation("unprintable").status
    assert status.phase == "Failed"
    assert "write another" in next(c.message for c in status.conditions if c.type == "Failed")


async def test_cancelling_frees_the_server(new_world: NewWorld) -> None:
    world = new_world()
    one_request(world)
    world.prepare = lambda server: setattr(server, "total_steps", BEYOND_ALL_STEPS)
    operator = world.operator()
    await world.run(operator, lambda: world.generation("red-square").status.phase == "Running")
    world.edit(generation.KIND, "red-square", cancel=True)
    await world.run(operator, world.all_ended)
    assert world.generation("red-square").status.phase == "Cancelled"
    assert world.server_of("red-square").in_hand is None


async def test_the_deadline_ends_a_request_that_waits_for_a_model(new_world: NewWorld) -> None:
    world = new_world()
    world.ask("early", deadlineSeconds=30)
    operator = world.operator()
    await operator.look_around()
    accepted = next(c for c in world.generation("early").status.conditions if c.type == "Accepted")
    assert (accepted.status, accepted.reason) == ("False", "ModelNotFound")
    await world.run(operator, world.all_ended)
    assert next(c.reason for c in world.generation("early").status.conditions if c.type == "Failed") == (
        "DeadlineExceeded"
    )


async def test_a_request_waits_for_its_upload_works_on_it_and_leaves_nothing_of_it(new_world: NewWorld) -> None:
    world = new_world()
    world.apply_model()
    picture = b"a picture"
    sha256 = hashlib.sha256(picture).hexdigest()
    world.ask("animated", task="image", input={"upload": {"sha256": sha256, "bytes": len(picture)}})
    operator = world.operator()
    await operator.look_around()
    accepted = next(c for c in world.generation("animated").status.conditions if c.type == "Accepted")
    assert (accepted.status, accepted.reason) == ("False", "InputNotReady")
    uid = world.generation("animated").metadata.uid
    world.store.put(layout.generation_uploads_prefix("studio", uid) + "input", picture)
    await world.run(operator, world.all_ended)
    assert_one_clip(world, "animated")
    order = next(order for server in world.all_servers for order in server.given)
    assert [(given.name, given.sha256) for given in order.inputs] == [("input", sha256)]
    folder = layout.generation_prefix("studio", uid)
    assert not [stat.key for stat in world.store.list(folder) if "/" in stat.key.removeprefix(folder)]


async def test_a_request_waits_for_the_clip_that_it_works_on(new_world: NewWorld) -> None:
    world = new_world()
    world.apply_model()
    world.ask("longer", task="extend", input={"generation": "first"})
    operator = world.operator()
    await operator.look_around()
    accepted = next(c for c in world.generation("longer").status.conditions if c.type == "Accepted")
    assert (accepted.status, accepted.reason) == ("False", "InputNotFound")
    world.ask("first")
    await world.run(operator, world.all_ended)
    assert_one_clip(world, "longer")
    first = world.generation("first").status.video
    assert first is not None
    (order,) = (order for server in world.all_servers for order in server.given if order.name == "longer")
    assert (order.task, [given.name for given in order.inputs]) == ("extend", ["input"])
    assert order.inputs[0].sha256 == first.sha256


async def test_a_request_that_waits_for_a_clip_keeps_nobody_from_the_one_server(new_world: NewWorld) -> None:
    world = new_world()
    world.apply_model(maxReplicas=1)
    for number in range(4):
        world.ask(f"another-{number}", task="extend", input={"generation": "first"})
    world.ask("first")
    await world.run(world.operator(), world.all_ended)
    for number in range(4):
        assert_one_clip(world, f"another-{number}")


async def test_an_order_that_nobody_waits_for_is_stopped_before_the_next(new_world: NewWorld) -> None:
    world = new_world()
    world.apply_model()
    world.ask("deleted")
    world.prepare = lambda server: setattr(server, "total_steps", 4)
    operator = world.operator()
    await world.run(operator, lambda: world.generation("deleted").status.phase == "Running")
    server = world.server_of("deleted")
    del world.api.objects[(generation.KIND, "studio", "deleted")]
    world.ask("next")
    await world.run(operator, world.all_ended)
    assert server.orders["uid-deleted"].phase == "cancelled"
    assert_one_clip(world, "next")


async def test_a_flipped_byte_in_the_models_manifest_is_named(new_world: NewWorld) -> None:
    world = new_world()
    one_request(world)
    key = layout.model_prefix(world.digest) + layout.MANIFEST
    world.store.put(key, world.store.get(key).replace(b'"step":1', b'"step":2'))
    await world.run(world.operator(), world.all_ended)
    failed = next(c for c in world.generation("red-square").status.conditions if c.type == "Failed")
    assert failed.reason == "BrokenModel"
    assert "publish the model again" in failed.message


async def test_a_store_that_goes_away_loses_nothing(new_world: NewWorld) -> None:
    world = new_world()
    one_request(world)
    operator = world.operator()
    await world.run(operator, lambda: rendered(world, "red-square"))
    world.stores.reachable = False
    await operator.look_around()
    waiting = next(c for c in world.generation("red-square").status.conditions if c.type == "Succeeded")
    assert (waiting.status, waiting.reason) == ("False", "StorageUnreachable")
    world.stores.reachable = True
    await world.run(operator, world.all_ended)
    assert world.generation("red-square").status.attempt == 1
    assert_one_clip(world, "red-square")


def rendered(world: Any, name: str) -> bool:
    """Whether the server is one question away from saying that it is done."""
    server = world.server_of(name)
    return server is not None and all(s.step == s.total_steps for s in server.orders.values())
