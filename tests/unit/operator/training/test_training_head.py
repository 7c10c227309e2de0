"""The control plane and the heads of attempts: stores that cannot fence, closing, and what pruning leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kinema_api import head as heads
from kinema_api import layout
from kinema_api.base import find_condition
from kinema_api.objectstore import ObjectStore, StoreLocation
from kinema_api.objectstores import FolderStore
from kinema_api.training import VideoModelTraining
from kinema_operator.cache import ObjectCache
from kinema_operator.plan import Key, Plan
from kinema_operator.settings import Settings
from kinema_operator.training import fence
from kinema_operator.training.controller import TrainingController
from kinema_operator.training.plan import decide
from kinema_operator.training.view import View
from unit.operator.training.conftest import NOW
from unit.operator.training.facts import status_of

RUN = "trainings/team/tiny-world/7a1f/run-001/"
KEY = Key("VideoModelTraining", "team", "tiny-world")


class Careless(FolderStore):
    """Takes conditions of writes for decoration, as a store that does not know the headers."""

    def put_if(self, key: str, data: bytes, etag: str | None, content_type: str = "application/octet-stream") -> str:
        self.put(key, data)
        found = self.stat(key)
        assert found
        return found.etag


class One:
    """Every spec's store is this one."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def checked(self, namespace: str, artifact_store: Any) -> ObjectStore:
        return self._store

    for_object = checked


class NoSecrets:
    async def get(self, kind: str, namespace: str, name: str) -> None:
        return None


def bucket(folder: Path, kind: type[FolderStore] = FolderStore) -> FolderStore:
    (folder / "kinema").mkdir()
    return kind(StoreLocation(endpoint=f"file://{folder}", bucket="kinema"))


async def look(training: VideoModelTraining, store: ObjectStore, settings: Settings) -> Plan:
    """Observe, decide, and carry out what is to be done in the bucket, but for keys."""
    controller = TrainingController(settings, NoSecrets(), One(store), 1)  # type: ignore[arg-type]
    obj = {name: getattr(training, name).to_wire() for name in ("metadata", "spec", "status")}
    seen = await controller.observe(KEY, obj, ObjectCache(lambda _: None))
    assert seen is not None
    plan = decide(View(training, seen, settings, NOW))
    for effect in plan.effects:
        if type(effect).__name__ == "CloseAttempt":
            await controller.perform(KEY, obj, effect)
    return plan


async def test_no_attempt_begins_on_a_store_that_cannot_tell_two_groups_apart(
    make_training: Any, settings: Settings, tmp_path: Path
) -> None:
    plan = await look(make_training(), bucket(tmp_path, Careless), settings)
    status = status_of(plan)
    assert status.attempt == 0, "an attempt was begun"
    running = find_condition(status.conditions, "Running")
    assert running is not None
    assert (running.status, running.reason) == ("False", "StoreLacksConditionalWrites")
    assert "does not refuse a second creation of an object" in running.message
    assert "store.allowWeakFence" in running.message


async def test_somebody_may_allow_the_weaker_fence(make_training: Any, settings: Settings, tmp_path: Path) -> None:
    weak = settings.model_copy(update={"allow_weak_fence": True})
    plan = await look(make_training(), bucket(tmp_path, Careless), weak)
    assert status_of(plan).attempt == 1


async def test_a_store_is_tried_once_and_left_as_it_was(make_training: Any, settings: Settings, tmp_path: Path) -> None:
    store = bucket(tmp_path)
    assert status_of(await look(make_training(), store, settings)).attempt == 1
    assert list(store.list("")) == []


async def test_an_attempt_is_closed_before_its_successor_is_told_where_to_begin(
    make_training: Any, settings: Settings, tmp_path: Path
) -> None:
    store = bucket(tmp_path)
    attempt = f"{RUN}attempt-001/"
    heads.write(store, attempt, heads.Head(counter=1, epoch=1, service="s", round=1, token="t"), None)
    seen = heads.read(store, attempt)
    assert seen is not None
    training = make_training({"run": 1, "attempt": 1, "phase": "Pending", "notBefore": NOW.isoformat()})
    first = status_of(await look(training, store, settings))
    assert first.attempt == 1, "nothing is fixed while something can still be committed"
    with pytest.raises(heads.StaleWrite):
        heads.write(store, attempt, seen.head.model_copy(update={"counter": 2}), seen.etag)
    then = status_of(await look(training.model_copy(update={"status": first}), store, settings))
    assert then.attempt == 2


def test_pruning_keeps_what_heads_name_and_removes_what_they_do_not(tmp_path: Path) -> None:
    store = bucket(tmp_path)
    attempt = f"{RUN}attempt-001/"
    named = [layout.checkpoint_prefix("", step, round_) for step, round_ in ((30, 3), (20, 1), (10, 1))]
    stray = layout.checkpoint_prefix("", 40, 2)
    for folder in (*named, stray):
        store.put(f"{attempt}{folder}{layout.MANIFEST}", b"{}")
        store.put(f"{attempt}{folder}w.distcp", b"w")
    head = heads.Head(counter=1, round=3, checkpoints=tuple(named))
    heads.write(store, attempt, head, None)
    keys = [found.key for found in store.list(RUN)]
    doomed = fence.to_prune(keys, 2, (), fence.read_heads(store, keys))
    assert {key.removeprefix(attempt).rpartition("/")[0] + "/" for key in doomed} == {named[2], stray}
    store.put(layout.head_key(attempt), b"{torn")
    assert fence.to_prune(keys, 2, (), fence.read_heads(store, keys)) == [], "not known: nothing goes"
