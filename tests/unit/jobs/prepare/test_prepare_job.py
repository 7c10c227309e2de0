"""From a bucket of videos to a dataset that a training reads: by one worker, and by the same work done again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kinema_api.folderstore import FolderStore
from kinema_api.prepare import PrepareConfig, PrepareResult
from kinema_dataset.source import DatasetSource
from kinema_jobs.prepare.dataset_reader import StoreReader
from kinema_jobs.prepare.job import Stores, prepare
from kinema_jobs.prepare.progress import Progress
from unit.jobs.prepare.material import REAL, TARGET, bucket, config, folder_store, last_word, real, settings, started

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return folder_store(tmp_path)


def run(store: FolderStore, tmp_path: Path, of: PrepareConfig, **how: Any) -> PrepareResult:
    one = bucket(store)
    return prepare(of, settings(tmp_path, **how), Stores(one, one), Progress())


def source(store: FolderStore, result: PrepareResult, tmp_path: Path) -> DatasetSource:
    (dataset,) = result.datasets
    return DatasetSource(StoreReader(lambda: store, dataset.prefix), tmp_path / "cache", 0)


def test_real_videos_become_a_dataset(store: FolderStore, tmp_path: Path) -> None:
    for name in REAL:
        store.put(f"videos/{name}.mp4", real(name))
        store.put(f"videos/{name}.txt", f"what {name} shows".encode())
    of = config()
    with started(tmp_path, of) as process:
        assert process.wait(250) == 0
    result = PrepareResult.model_validate_json(store.get(of.result))
    (dataset,) = result.datasets
    clips = source(store, result, tmp_path)
    assert clips.manifest.digest == dataset.digest
    assert dataset.samples == clips.manifest.samples >= 6
    assert dataset.inputs == 3
    assert not dataset.reused
    for index in range(len(clips)):
        (clip,) = clips.clips([index])
        frames, height, width, _ = clip.video.shape
        assert (frames % 4, height % 8, width % 8) == (0, 0, 0)
        assert 8 <= frames <= TARGET.frames
        assert height * width <= TARGET.pixels
        assert clip.fps == 8
        assert clip.captions.short.startswith("what ")
    page = store.get(result.report).decode()
    assert "bikes.mp4" in page
    assert "data:image/jpeg" in page


def test_the_same_inputs_are_prepared_once(store: FolderStore, tmp_path: Path) -> None:
    store.put("videos/a.mp4", real("carphone_pristine"))
    store.put("videos/a.txt", b"a man in a car")
    first = run(store, tmp_path, config())
    again = run(store, tmp_path, config(name="others"))
    assert again.datasets[0].reused
    assert again.datasets[0].prefix == first.datasets[0].prefix
    store.put("videos/a.txt", b"a man talks in a car")
    before = {found.key for found in store.list("datasets/team/") if "/parts/" in found.key or "/shards/" in found.key}
    changed = run(store, tmp_path, config(name="third"))
    after = {found.key for found in store.list("datasets/team/") if "/parts/" in found.key or "/shards/" in found.key}
    assert after == before, "other captions need no other pixels"
    assert changed.datasets[0].prefix != first.datasets[0].prefix
    assert not changed.datasets[0].reused
    assert source(store, changed, tmp_path).clips([0])[0].captions.short == "a man talks in a car"
    assert source(store, first, tmp_path).clips([0])[0].captions.short == "a man in a car", "nobody's dataset changes"


def test_nothing_left_is_an_error_of_the_user(store: FolderStore, tmp_path: Path) -> None:
    store.put("videos/a.mp4", b"no video at all")
    store.put("videos/a.txt", b"a caption")
    with started(tmp_path, config()) as process:
        assert process.wait(100) == 2
    word = last_word(tmp_path)
    assert word["failureClass"] == "user_error"
    assert "no clip of s3://bucket/videos/ is left: damaged or unknown file 1" in word["message"]
    assert "prepared.html" in word["message"]
