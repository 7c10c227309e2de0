"""Workers that are killed at any moment, added and taken away change nothing of what comes out."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest

from kinema_api.folderstore import FolderStore
from kinema_api.prepare import PrepareConfig, PreparedDataset, PrepareResult
from kinema_dataset.index import MANIFEST_FILE
from kinema_dataset.source import DatasetSource
from kinema_jobs.prepare.dataset_reader import StoreReader
from unit.jobs.prepare.material import LENIENT, config, drawn, folder_store, real, started

PATIENCE = 1200


@pytest.mark.slow
def test_killed_workers_leave_the_same_dataset(tmp_path: Path) -> None:
    _kill(tmp_path, kills=4, videos=4)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_workers_killed_twenty_times_leave_the_same_dataset(tmp_path: Path) -> None:
    _kill(tmp_path, kills=20, videos=24)


def _kill(folder: Path, kills: int, videos: int) -> None:
    draw = random.Random(kills)
    fill(folder_store(folder / "calm"), folder, videos)
    shutil.copytree(folder / "calm", folder / "stormy")  # with the same times, of which ETags are made
    calm, stormy = folder_store(folder / "calm"), folder_store(folder / "stormy")
    of = config(filters=LENIENT)
    with started(folder / "calm", of) as process:
        assert process.wait(PATIENCE) == 0
    wanted = outcome(calm, of)
    alive: dict[int, subprocess.Popen[bytes]] = {}
    while kills:
        if stormy.stat(of.result) is not None:
            undo(stormy, of, draw)
        for worker in draw.sample(range(5), draw.randint(1, 3)):
            if worker not in alive:
                alive[worker] = started(folder / "stormy", of, worker)
        victim = draw.choice(sorted(alive))
        process = alive.pop(victim)
        if ended(process, draw.uniform(1, 8)) is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)
            kills -= 1
    last = started(folder / "stormy", of, 7)
    assert [process.wait(PATIENCE) for process in (*alive.values(), last)] == [0] * (len(alive) + 1)
    found = outcome(stormy, of)
    assert found.digest == wanted.digest
    assert found.dropped == wanted.dropped
    assert stormy.get(found.prefix + MANIFEST_FILE) == calm.get(wanted.prefix + MANIFEST_FILE)
    clips = DatasetSource(StoreReader(lambda: stormy, found.prefix), folder / "cache", 0)
    assert len(clips.clips(range(len(clips)))) == len(clips), "every shard is whole"


def ended(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit code, which must be 0; None: it still runs."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    assert code == 0
    return code


def undo(store: FolderStore, of: PrepareConfig, draw: random.Random) -> None:
    """Take the result and some of the work away, as if it had not been done yet."""
    store.delete(of.result)
    for found in list(store.list(of.datasets)):
        if "/sums/" in found.key or ("/parts/" in found.key and draw.random() < 0.5):
            store.delete(found.key)


def outcome(store: FolderStore, of: PrepareConfig) -> PreparedDataset:
    (dataset,) = PrepareResult.model_validate_json(store.get(of.result)).datasets
    return dataset


def fill(store: FolderStore, scratch: Path, videos: int) -> None:
    """Videos of several containers, a real one, a tar, a broken one, and captions."""
    for number in range(videos):
        ending = ("mp4", "mov", "mkv")[number % 3]
        store.put(f"videos/{number:02d}.{ending}", drawn(scratch / f"one.{ending}", number, frames=20 + number))
        store.put(f"videos/{number:02d}.txt", f"scene {number}".encode())
    store.put("videos/real.mp4", real("carphone_pristine"))
    store.put("videos/copy.mp4", real("carphone_pristine"))
    store.put("videos/broken.mp4", real("bikes")[:40_000])
    store.put("videos/metadata.csv", b"file_name,text\nreal.mp4,a man\ncopy.mp4,a man again\nbroken.mp4,bikes\n")
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as out:
        for name, data in {"t.mp4": drawn(scratch / "t.mp4", 99), "t.txt": b"in a tar"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    store.put("videos/t.tar", tar.getvalue())
