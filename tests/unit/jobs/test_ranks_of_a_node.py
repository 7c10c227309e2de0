"""Several ranks on one node, each in a process of its own, with one scratch folder above them all."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from kinema_api.errors import BrokenManifest
from kinema_api.objectstore import ObjectStat, StoreLocation
from kinema_api.objectstores import FolderStore
from kinema_jobs.train.checkpoint import Checkpoints
from kinema_jobs.train.failures import termination_message
from kinema_jobs.train.group import Group
from kinema_jobs.train.storage import RetryPolicy
from unit.jobs.rounds import config, on_ranks

RANKS = 2


class Watched(FolderStore):
    """Remembers what goes through it."""

    def __init__(self, location: StoreLocation) -> None:
        super().__init__(location)
        self.uploaded: list[str] = []
        self.fetched: list[str] = []

    def put_file(self, key: str, path: Path, sha256: str | None = None) -> None:
        self.uploaded.append(key)
        super().put_file(key, path)

    def get_file(self, key: str, path: Path, *limit: int) -> None:
        self.fetched.append(str(path))
        super().get_file(key, path, *limit)


def checkpoints_of(here: Group, folder: Path) -> tuple[Checkpoints, Watched]:
    store = Watched(StoreLocation(endpoint=f"file://{folder}", bucket="kinema"))
    beside = dataclasses.replace(here, local_rank=here.rank, local_world_size=here.world_size)
    checkpoints = Checkpoints(config(), beside, store, RetryPolicy(5), folder / "scratch")
    if here.rank == 0 and hasattr(checkpoints, "claim"):
        checkpoints.claim()
    return checkpoints, store


def state(step: int) -> dict[str, Any]:
    return {f"weight-{number}": torch.full((64, 64), float(step)) for number in range(8)}


def save(here: Group, _: Path, folder: Path) -> tuple[list[str], str]:
    checkpoints, store = checkpoints_of(here, folder)
    committed = checkpoints.save(state(1), 1, 2)
    return store.uploaded, committed.prefix


def fetch(here: Group, _: Path, folder: Path, prefix: str) -> tuple[list[str], bool]:
    checkpoints, store = checkpoints_of(here, folder)
    checkpoints.fetch(prefix)
    found = state(0)
    checkpoints.load(prefix, found)
    return store.fetched, all(bool((tensor == 1).all()) for tensor in found.values())


def fetch_what_is_torn_for_one(here: Group, _: Path, folder: Path, prefix: str) -> bool:
    checkpoints, store = checkpoints_of(here, folder)
    if here.rank == 1:

        def torn(key: str, path: Path, *limit: int) -> None:
            path.write_bytes(b"torn on its way")

        store.get_file = torn  # type: ignore[method-assign]
    return checkpoints.fetch_together(prefix) is None


def bucket(folder: Path) -> Path:
    (folder / "kinema").mkdir()
    (folder / "scratch").mkdir()
    return folder


def files(store: list[ObjectStat]) -> list[str]:
    return sorted(found.key for found in store if not found.key.endswith(".json"))


def test_ranks_of_one_node_upload_each_file_once_and_fetch_into_folders_of_their_own(tmp_path: Path) -> None:
    folder = bucket(tmp_path)
    (folder / "save").mkdir()
    (one, prefix), (two, _) = on_ranks(RANKS, folder / "save", save, folder)
    store = FolderStore(StoreLocation(endpoint=f"file://{folder}", bucket="kinema"))
    assert sorted(one + two) == files(list(store.list("trainings/"))), "each file is uploaded once, by who wrote it"
    for left in sorted((folder / "scratch").rglob("*"), reverse=True):
        left.rmdir() if left.is_dir() else left.unlink()  # other pods fetch it
    (folder / "fetch").mkdir()
    (one, whole), (two, also) = on_ranks(RANKS, folder / "fetch", fetch, folder, prefix)
    assert whole
    assert also
    assert not set(one) & set(two), "two ranks have fetched to one path"


def test_a_checkpoint_that_is_torn_for_one_rank_is_passed_over_by_all(tmp_path: Path) -> None:
    folder = bucket(tmp_path)
    (folder / "save").mkdir()
    (_, prefix), _ = on_ranks(RANKS, folder / "save", save, folder)
    for left in sorted((folder / "scratch").rglob("*"), reverse=True):
        left.rmdir() if left.is_dir() else left.unlink()
    (folder / "fetch").mkdir()
    assert on_ranks(RANKS, folder / "fetch", fetch_what_is_torn_for_one, folder, prefix) == [True, True]


def test_a_broken_manifest_is_a_failure_of_storage_on_any_rank() -> None:
    word = termination_message(BrokenManifest("the manifest of step 7 is torn; an older checkpoint is used"), 7)
    assert (word.failure_class, word.step) == ("network", 7)
    assert word.message == "the manifest of step 7 is torn; an older checkpoint is used"
