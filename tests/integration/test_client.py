"""The client, the informer and the writer against a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from integration.attempts_operator import KIND, training
from integration.server import until
from kinema_api import names
from kinema_operator.core.errors import (
    AlreadyExists,
    Conflict,
    Expired,
    ForeignObject,
    NamespaceEnding,
    NotLeading,
    Rejected,
    Unavailable,
)
from kinema_operator.core.plan import Apply
from kinema_operator.core.resources import MANAGED_SELECTOR, ref_to
from kinema_operator.core.semantic import merge_patch
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.shell.client import Client
from kinema_operator.shell.connection import Connection
from kinema_operator.shell.informer import Informer
from kinema_operator.shell.writer import Trust, Writer

pytestmark = pytest.mark.apiserver


def service(namespace: str, **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": "s", "labels": {**MANAGED_SELECTOR, "kinema.dev/model": "m"}},
        "spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "name": "http"}], **more},
    }


async def test_a_status_patch_removes_what_is_no_longer_said(client: Client, namespace: str) -> None:
    obj = await client.post(training(namespace, "t"))
    first = {"phase": "Training", "attempt": 1, "progress": {"step": 5, "totalSteps": 10, "loss": 0.5}}
    obj = await client.patch_status(ref_to(obj), merge_patch({}, first), obj["metadata"]["resourceVersion"])
    second = {"phase": "Suspended", "attempt": 1, "progress": {"step": 5, "totalSteps": 10}}
    difference = merge_patch(obj["status"], {**obj["status"], **second})
    obj = await client.patch_status(ref_to(obj), difference, obj["metadata"]["resourceVersion"])
    assert obj["status"]["phase"] == "Suspended"
    assert "loss" not in obj["status"]["progress"]
    without = {key: value for key, value in obj["status"].items() if key != "progress"}
    obj = await client.patch_status(
        ref_to(obj), merge_patch(obj["status"], without), obj["metadata"]["resourceVersion"]
    )
    assert "progress" not in obj["status"]


async def test_a_status_is_never_written_onto_a_version_that_was_not_seen(client: Client, namespace: str) -> None:
    seen = await client.post(training(namespace, "t"))
    newer = await client.patch_status(ref_to(seen), {"attempt": 2}, seen["metadata"]["resourceVersion"])
    with pytest.raises(Conflict, match="read it again"):
        await client.patch_status(ref_to(seen), {"attempt": 1}, seen["metadata"]["resourceVersion"])
    there = await client.get(KIND, namespace, "t")
    assert there is not None
    assert there["status"]["attempt"] == newer["status"]["attempt"] == 2


async def test_making_twice_makes_once(client: Client, namespace: str) -> None:
    (first, made), (second, again) = [await client.create(service(namespace)) for _ in range(2)]
    assert (made, again) == (True, False)
    assert first["metadata"]["uid"] == second["metadata"]["uid"]
    with pytest.raises(AlreadyExists):
        await client.post(service(namespace))


async def test_only_the_very_object_is_deleted(client: Client, namespace: str) -> None:
    first, _ = await client.create(service(namespace))
    assert await client.delete(ref_to(first))
    assert not await client.delete(ref_to(first))
    second, _ = await client.create(service(namespace))
    assert not await client.delete(ref_to(first)), "the name belongs to another object by now"
    there = await client.get("Service", namespace, "s")
    assert there is not None
    assert there["metadata"]["uid"] == second["metadata"]["uid"]


async def test_what_the_server_refuses_names_the_field(client: Client, namespace: str) -> None:
    wrong = dict(training(namespace, "t"))
    wrong["spec"] = {**wrong["spec"], "nodes": 0}
    with pytest.raises(Rejected, match=r"spec\.nodes.*correct the field"):
        await client.post(wrong)


async def test_a_namespace_that_ends_is_told_apart_from_missing_rights(
    client: Client, connection: Connection, namespace: str
) -> None:
    # No controller manager runs here, so it ends for ever.
    address = f"{connection.server}/api/v1/namespaces/{namespace}"
    async with connection.session() as session, session.delete(address, headers=await connection.headers()) as answer:
        assert answer.status == 200
    with pytest.raises(NamespaceEnding, match="being terminated"):
        await client.create(service(namespace))


async def test_a_fenced_client_sends_nothing(client: Client, namespace: str) -> None:
    def closed() -> float:
        raise NotLeading("not leading; wait")

    client.fence = closed
    with pytest.raises(NotLeading):
        await client.create(service(namespace))
    assert await client.get("Service", namespace, "s") is None


async def test_a_server_that_does_not_answer_is_unavailable(connection: Connection) -> None:
    connections: list[asyncio.StreamWriter] = []

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    connection.server = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    hung = Client(connection, 0.2)
    with pytest.raises(Unavailable, match="the operator retries"):
        await hung.get("Pod", "n", "p")
    with pytest.raises(Unavailable):
        async with hung.watch("Pod", "n", {}, 0.2):
            pass
    await hung.close()
    for writer in connections:
        writer.close()
    listener.close()


class Watching:
    """An informer of the test's own, its cache, and the keys it told of."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.told: list[str] = []
        self.cache = ObjectCache(lambda obj: self.told.append(obj["metadata"]["name"]))
        self.informer = Informer(client, self.cache, KIND, namespace=namespace, stale_seconds=120)
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.informer.run())

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def knows(self, *expected: str) -> bool:
        return sorted(obj["metadata"]["name"] for obj in self.cache.list(KIND)) == sorted(expected)


@pytest_asyncio.fixture
async def watching(client: Client, namespace: str) -> AsyncIterator[Watching]:
    made = Watching(client, namespace)
    made.start()
    yield made
    await made.stop()


async def test_additions_changes_and_deletions_arrive(client: Client, namespace: str, watching: Watching) -> None:
    obj = await client.post(training(namespace, "a"))
    await until(lambda: watching.knows("a"), "the addition")
    await client.patch_status(ref_to(obj), {"attempt": 3}, obj["metadata"]["resourceVersion"])

    async def attempt_known() -> bool:
        known = watching.cache.get(KIND, namespace, "a")
        return known is not None and known.get("status", {}).get("attempt") == 3

    await until(attempt_known, "the change")
    await client.delete(ref_to(obj))
    await until(lambda: watching.knows(), "the deletion")


async def test_a_deletion_in_a_gap_of_the_watch_is_seen(client: Client, namespace: str, watching: Watching) -> None:
    lost = await client.post(training(namespace, "lost"))
    await client.post(training(namespace, "kept"))
    await until(lambda: watching.knows("lost", "kept"), "both")
    await watching.stop()
    await client.delete(ref_to(lost))
    watching.told.clear()
    # As if the watch had been away for so long that the server has forgotten where it was.
    watching.informer._version = "1"
    with pytest.raises(Expired):
        await watching.informer._watch("1")
    watching.start()
    await until(lambda: watching.knows("kept"), "the deletion")
    assert watching.told == ["lost"], "what has not changed wakes nobody"


async def test_a_refresh_returns_with_a_cache_as_new_as_the_call(
    client: Client, namespace: str, watching: Watching
) -> None:
    await watching.informer.synced.wait()
    for index in range(5):
        await client.post(training(namespace, f"t{index}"))
        await asyncio.gather(watching.informer.refresh(), watching.informer.refresh())
        assert watching.cache.get(KIND, namespace, f"t{index}") is not None


class Writing:
    """A writer with a cache that its own client feeds."""

    def __init__(self, connection: Connection) -> None:
        self.cache = ObjectCache(lambda obj: None)
        self.cache.watch_kind("Service", MANAGED_SELECTOR)
        self.client = Client(connection, 15, self.cache)
        self.writer = Writer(self.cache, self.client)
        self.trust = Trust()

    async def write(self, manifest: dict[str, Any], *, once: bool = False) -> dict[str, Any]:
        await self.writer.write(Apply(manifest, once), self.trust)
        found = await self.client.get(manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        assert found is not None
        return found


@pytest_asyncio.fixture
async def writing(connection: Connection) -> AsyncIterator[Writing]:
    made = Writing(connection)
    yield made
    await made.client.close()


async def test_what_is_so_is_not_written(writing: Writing, namespace: str) -> None:
    first = await writing.write(service(namespace))
    second = await writing.write(service(namespace))
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]
    assert first["metadata"]["managedFields"][0]["time"] == second["metadata"]["managedFields"][0]["time"]


async def test_a_field_that_is_no_longer_stated_goes_and_those_of_others_stay(
    writing: Writing, client: Client, namespace: str
) -> None:
    made = await writing.write(service(namespace, publishNotReadyAddresses=True))
    assert made["spec"]["publishNotReadyAddresses"] is True
    others = {"metadata": {"labels": {"theirs": "x"}}}
    theirs = await client.patch(ref_to(made), others, made["metadata"]["resourceVersion"], manager="somebody")
    writing.cache.offer(theirs)
    changed = await writing.write(service(namespace, selector={"a": "c"}))
    assert "publishNotReadyAddresses" not in changed["spec"]
    assert changed["spec"]["selector"] == {"a": "c"}
    assert changed["metadata"]["labels"]["theirs"] == "x"
    ours = [e for e in changed["metadata"]["managedFields"] if e["manager"] == names.FIELD_MANAGER]
    assert [entry["operation"] for entry in ours] == ["Apply"]


async def test_what_is_made_once_is_left_alone(writing: Writing, namespace: str) -> None:
    first = await writing.write(service(namespace), once=True)
    second = await writing.write(service(namespace, selector={"a": "c"}), once=True)
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


async def test_an_object_of_another_owner_is_not_touched(writing: Writing, client: Client, namespace: str) -> None:
    def owned(uid: str) -> dict[str, Any]:
        manifest = service(namespace)
        owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": True}
        return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [owner]}}

    await client.create(owned("one"))
    with pytest.raises(ForeignObject, match="belongs to one; delete it"):
        await writing.write(owned("two"))


async def test_a_secret_is_right_again_after_it_was_trusted(writing: Writing, client: Client, namespace: str) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": "s", "labels": MANAGED_SELECTOR},
        "stringData": {"key": "value"},
    }
    made = await writing.write(secret)
    again = await writing.write(secret)
    assert made["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]
    await client.delete(ref_to(made))
    writing.trust.seen.clear()
    assert (await writing.write(secret))["metadata"]["uid"] != made["metadata"]["uid"]


async def test_a_list_holds_no_bookkeeping_of_thousands_of_objects(client: Client, namespace: str) -> None:
    await client.post(service(namespace))
    listed, _ = await client.list_all("Service", namespace)
    assert len(listed) == 1
    assert "managedFields" not in listed[0]["metadata"]
    one = await client.get("Service", namespace, listed[0]["metadata"]["name"])
    assert one is not None
    assert one["metadata"]["managedFields"], "who asks for one object may change its owners"
