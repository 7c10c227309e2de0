"""Which checkpoints a round may start from, best first."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema_api import head as heads
from kinema_api.head import Head
from kinema_api.layout import MANIFEST, checkpoint_prefix, head_key
from kinema_api.objectstore import ObjectStore, StoreLocation
from kinema_api.objectstores import open_store
from kinema_jobs.train.resume import candidates, elders

pytestmark = pytest.mark.slow


BEFORE = "trainings/n/t/u/run-001/attempt-001/"
FIXED = checkpoint_prefix(BEFORE, 30, 2)


def bucket(folder: Path) -> ObjectStore:
    (folder / "kinema").mkdir()
    return open_store(StoreLocation(endpoint=f"file://{folder}", bucket="kinema"), None)


def folders(*at: tuple[int, int]) -> tuple[str, ...]:
    return tuple(checkpoint_prefix("", step, round_) for step, round_ in at)


def test_what_the_attempt_committed_comes_before_what_it_started_from() -> None:
    assert candidates(["b/", "a/"], FIXED, ["older/"]) == ["b/", "a/", FIXED, "older/"]
    assert candidates(["a/"], None, []) == ["a/"]


def test_behind_the_start_of_the_attempt_stand_its_elders_alone(tmp_path: Path) -> None:
    store = bucket(tmp_path)
    committed = folders((50, 3), (40, 2), (30, 2), (20, 1), (10, 1))
    store.put(head_key(BEFORE), Head(checkpoints=committed).to_bytes())
    assert elders(store, FIXED) == [BEFORE + folder for folder in committed[3:]]
    assert elders(store, None) == []
    assert elders(store, "elsewhere/") == []


def test_elders_of_an_attempt_without_a_head_are_found_by_their_manifests(tmp_path: Path) -> None:
    store = bucket(tmp_path)
    for folder in folders((40, 2), (20, 1)):
        store.put(BEFORE + folder + MANIFEST, b"{}")
    assert elders(store, FIXED) == [checkpoint_prefix(BEFORE, 20, 1)]
    assert heads.read(store, BEFORE) is None, "looking writes nothing"
