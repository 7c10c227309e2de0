"""The control plane and the heads of attempts: closing, and what pruning leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kinema_api import head as heads
from kinema_api import layout
from kinema_operator.core.plan import Key
from kinema_operator.core.settings import Settings
from kinema_operator.training import fence
from unit.operator.training.bucket import bucket, look
from unit.operator.training.conftest import NOW
from unit.operator.training.facts import status_of

RUN = "trainings/team/tiny-world/7a1f/run-001/"
KEY = Key("VideoModelTraining", "team", "tiny-world")


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
