"""The fence between attempts: its order, and that no zombie and no torn checkpoint gets through."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_api import layout
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import ObjectStore, StoreLocation
from kinema_api.objectstores import open_store
from kinema_operator.training import fence

RUN = "trainings/team/tiny/uid/run-001/"

places = st.sets(st.tuples(st.integers(0, 9), st.integers(1, 4)), max_size=12)
"""(step, round) of checkpoints."""


def prefix(attempt: int, step: int, round_: int) -> str:
    return layout.checkpoint_prefix(f"{RUN}attempt-{attempt:03d}/", step, round_)


def manifests(attempt: int, at: set[tuple[int, int]]) -> list[str]:
    return [prefix(attempt, step, round_) + layout.MANIFEST for step, round_ in at]


def commit(store: ObjectStore, attempt: int, step: int, round_: int, claims: int | None = None) -> str:
    where = prefix(attempt, step, round_)
    data = f"{attempt}/{step}/{round_}".encode()
    store.put(where + "w.distcp", data)
    manifest = Manifest(
        kind="checkpoint",
        files=(ManifestFile(name="w.distcp", sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)),),
        run=1,
        attempt=claims or attempt,
        round=round_,
        step=step,
        world_size=2,
        samples=0,
        created=datetime(2026, 3, 1, tzinfo=UTC),
    )
    store.put(where + layout.MANIFEST, manifest.to_bytes())
    return where


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    (tmp_path / "kinema").mkdir()
    return open_store(StoreLocation(endpoint=f"file://{tmp_path}", bucket="kinema"), None)


@given(places, places, st.none() | st.tuples(st.integers(0, 9), st.integers(1, 4)))
def test_candidates_come_newest_first_and_none_from_beyond_the_fence(
    last: set[tuple[int, int]], older: set[tuple[int, int]], fixed: tuple[int, int] | None
) -> None:
    resumed = prefix(1, *fixed) if fixed else None
    found = fence.candidates(manifests(2, last), resumed, manifests(1, older))
    assert found == sorted(set(found), reverse=True)
    assert {(c.step, c.round) for c in found if c.attempt == 2} == last
    first = [(c.round, c.step) for c in found if c.attempt == 1]
    if fixed is None:
        assert first == []
    else:
        assert first[0] == (fixed[1], fixed[0])
        assert all(at <= (fixed[1], fixed[0]) for at in first), "committed after the fence: a zombie's"


def test_a_later_round_wins_over_a_later_step(store: ObjectStore) -> None:
    commit(store, 1, 300, 1)
    newest = commit(store, 1, 200, 2)
    found = fence.find(store, f"{RUN}attempt-001/", None)
    assert found.checkpoint is not None
    assert found.checkpoint.prefix == newest


def test_torn_checkpoints_are_passed_over(store: ObjectStore) -> None:
    whole = commit(store, 1, 50, 1)
    short = commit(store, 1, 100, 1)
    store.put(short + "w.distcp", b"")
    gone = commit(store, 1, 150, 1)
    store.delete(gone + "w.distcp")
    garbled = commit(store, 1, 200, 1)
    store.put(garbled + layout.MANIFEST, b"{")
    foreign = commit(store, 1, 250, 1, claims=7)
    store.put(prefix(1, 300, 1) + "w.distcp", b"no manifest: it does not exist")
    found = fence.find(store, f"{RUN}attempt-001/", None)
    assert found.checkpoint is not None
    assert found.checkpoint.prefix == whole
    assert found.passed_over == (foreign, garbled, gone, short)


def test_without_own_checkpoints_an_attempt_hands_on_what_it_resumed_from(store: ObjectStore) -> None:
    first = commit(store, 1, 50, 1)
    fixed = commit(store, 1, 100, 1)
    commit(store, 1, 150, 1)  # by a zombie, after attempt 2 had been fixed on step 100
    found = fence.find(store, f"{RUN}attempt-002/", fixed)
    assert found.checkpoint is not None
    assert found.checkpoint.prefix == fixed
    store.delete(fixed + "w.distcp")
    found = fence.find(store, f"{RUN}attempt-002/", fixed)
    assert found.checkpoint is not None
    assert found.checkpoint.prefix == first
    assert found.passed_over == (fixed,)


def test_nothing_committed_is_a_start_from_scratch(store: ObjectStore) -> None:
    assert fence.find(store, f"{RUN}attempt-001/", None) == fence.Found(None, ())


@given(places, places, st.integers(1, 4), st.sampled_from([None, (3, 1), (9, 4)]))
def test_pruning_keeps_the_newest_and_what_is_resumed_from(
    one: set[tuple[int, int]], two: set[tuple[int, int]], keep: int, resumed: tuple[int, int] | None
) -> None:
    heads = manifests(1, one) + manifests(2, two)
    keys = heads + [key.replace(layout.MANIFEST, "w.distcp") for key in heads] + [f"{RUN}attempt-002/export/m"]
    protected = {prefix(1, *resumed)} if resumed else set()
    doomed = fence.to_prune(keys, keep, protected)
    left = fence.committed(set(keys) - set(doomed))
    before = fence.committed(keys)
    assert left[:keep] == before[:keep]
    assert len(left) <= keep + len(protected)
    assert not any(key.startswith(tuple(protected)) for key in doomed if protected)
    assert f"{RUN}attempt-002/export/m" not in doomed
    heads_first = [key.endswith(layout.MANIFEST) for key in doomed]
    assert heads_first == sorted(heads_first, reverse=True), "a folder loses its manifest before its files"
    assert fence.to_prune(sorted(set(keys) - set(doomed)), keep, protected) == []


def test_pruning_leaves_alone_what_is_still_being_written(store: ObjectStore) -> None:
    whole = prefix(1, 50, 1) + layout.MANIFEST
    writing = prefix(1, 100, 1) + "w.distcp"
    abandoned = prefix(1, 20, 1) + "w.distcp"
    assert fence.to_prune([whole, writing, abandoned], 1, ()) == [abandoned]
