"""Clips of a dataset by position: each once in an epoch, the same in every process, and some held out."""

from __future__ import annotations

import pickle
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema_dataset.errors import BrokenDataset, BrokenShard
from kinema_dataset.index import INDEX_FILE, MANIFEST_FILE, DatasetManifest, finish
from kinema_dataset.order import fraction, shuffled
from kinema_dataset.reading import FolderReader
from kinema_dataset.shards import LATENTS, Sample, write_shard
from kinema_dataset.source import DatasetSource
from kinema_model.source import Source
from unit.dataset.shard_samples import sample


def written(folder: Path, samples: list[Sample]) -> Path:
    folder.mkdir()
    shards = [write_shard(folder, samples[at : at + 8]) for at in range(0, len(samples), 8)]
    finish(folder, [line for shard in shards for line in shard.lines().splitlines()], {})
    return folder


def opened(folder: Path, cache: Path, cache_bytes: int = 1 << 20, **options: float) -> DatasetSource:
    return DatasetSource(FolderReader(folder), cache, cache_bytes, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 inputs of one to three shots of several sizes."""
    samples = [sample(n, shot, frames=1 + n % 3, width=4 + 2 * (n % 2)) for n in range(30) for shot in range(1 + n % 3)]
    return written(tmp_path_factory.mktemp("many") / "dataset", samples)


@given(count=st.integers(1, 300), seed=st.integers(0, 2**64), epoch=st.integers(0, 2**40))
def test_an_epoch_is_a_permutation(count: int, seed: int, epoch: int) -> None:
    assert sorted(shuffled(p, count, seed, epoch) for p in range(count)) == list(range(count))


def test_epochs_and_seeds_differ_and_no_position_is_favoured() -> None:
    orders = {tuple(shuffled(p, 40, seed, epoch) for p in range(40)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    firsts = Counter(shuffled(0, 8, 1, epoch) for epoch in range(1600))
    assert min(firsts.values()) > 140
    assert max(firsts.values()) < 260


def test_fractions_are_spread_evenly() -> None:
    assert abs(sum(fraction(f"s3://b/{n}.mp4") < 0.1 for n in range(5000)) / 5000 - 0.1) < 0.02


def test_each_clip_comes_once_in_an_epoch(many: Path, tmp_path: Path) -> None:
    source = opened(many, tmp_path)
    told: Source = source
    epochs = [[source.record(e * len(source) + p).identity for p in range(len(source))] for e in range(2)]
    assert set(epochs[0]) == set(epochs[1])
    assert epochs[0] != epochs[1]
    assert len(set(epochs[0])) == len(source)
    for index in (0, len(source) + 3):
        (clip,), shape = told.clips([index]), told.shape(index)
        assert tuple(clip.video.shape) == (shape.frames, shape.height, shape.width, 3)
        segment = source.record(index).about.segment
        origin = sample(int(segment.input[-9:-4]), segment.first // 100, frames=shape.frames, width=shape.width)
        assert torch.equal(clip.video, origin.tensors["video"])
        assert clip.captions.rich == origin.about.captions.rich


@given(first=st.integers(0, 10**9), count=st.integers(1, 4))
def test_a_resumed_run_goes_on_with_the_same_clips(many: Path, first: int, count: int) -> None:
    cache = many.parent / "resumed"
    before, after = opened(many, cache), opened(many, cache, cache_bytes=0)
    indices = range(first, first + count)
    pairs = zip(before.clips(indices), [after.clips([i])[0] for i in indices], strict=True)
    assert all(torch.equal(one.video, other.video) and one.captions == other.captions for one, other in pairs)
    assert before.digest == after.digest


def test_shots_of_one_video_are_never_on_both_sides(many: Path, tmp_path: Path) -> None:
    source = opened(many, tmp_path, held_out=0.2)
    assert source.held_out_by == "input"
    trained = {source.record(index).about.segment.input for index in range(len(source))}
    held = {source._record(int(row)).about.segment.input for row in source._validation}
    assert held
    assert trained
    assert not trained & held
    assert len(trained | held) == 30
    shown = source.validation(3)
    assert len(shown) == 3
    assert len(source.validation(1000)) == len(source._validation)
    trained_clips = source.clips(range(len(source)))
    assert not any(torch.equal(kept.video, other.video) for kept in shown for other in trained_clips)


def test_later_inputs_move_no_other_across(many: Path, tmp_path: Path) -> None:
    fewer = written(tmp_path / "fewer", [sample(n) for n in range(40)])
    more = written(tmp_path / "more", [sample(n) for n in range(60)])
    held = []
    for folder in (fewer, more):
        source = opened(folder, tmp_path / "cache", held_out=0.2)
        held.append({source._record(int(row)).about.segment.input for row in source._validation})
    assert held[0] <= held[1]


@pytest.mark.parametrize(
    ("samples", "by", "trained"),
    [
        ([sample(n, shot) for n in range(3) for shot in range(10)], "segment", range(20, 30)),
        ([sample(1)], "nothing", range(1, 2)),
    ],
)
def test_few_inputs_are_held_out_by_segment_or_not_at_all(
    tmp_path: Path, samples: list[Sample], by: str, trained: range
) -> None:
    source = opened(written(tmp_path / "dataset", samples), tmp_path / "cache")
    assert source.held_out_by == by
    assert len(source) in trained
    assert source.validation(1)
    assert by in next(iter(source.files().values()))


def test_largest_shapes_hold_every_clip(many: Path, tmp_path: Path) -> None:
    source = opened(many, tmp_path)
    largest = {(s.height, s.width): s.frames for s in source.largest_shapes()}
    assert largest == {(4, 4): 3, (4, 6): 3}
    assert len(source.largest_shapes()) == 2


def test_texts_hold_every_caption(many: Path, tmp_path: Path) -> None:
    texts = set(opened(many, tmp_path).texts())
    assert {"clip 0", "Clip 2, shot 2.", "clip 29"} <= texts


def test_the_digest_is_of_clips_and_order(many: Path, tmp_path: Path) -> None:
    sources = [opened(many, tmp_path), opened(many, tmp_path, seed=1), opened(many, tmp_path, held_out=0.1)]
    assert len({source.digest for source in sources}) == 3
    assert all(source.digest.startswith("sha256:") for source in sources)


def test_a_source_is_passed_on_to_another_process(many: Path, tmp_path: Path) -> None:
    source = opened(many, tmp_path)
    twin = pickle.loads(pickle.dumps(source))
    assert torch.equal(source.clips([5])[0].video, twin.clips([5])[0].video)


def test_a_flipped_byte_in_store_or_cache_never_reaches_a_training(tmp_path: Path) -> None:
    folder = written(tmp_path / "dataset", [sample(1)])
    source = opened(folder, tmp_path / "cache")
    right = source.clips([0])[0].video
    (kept,) = [path for path in (tmp_path / "cache" / "samples").iterdir() if path.name != "lock"]
    kept.write_bytes(kept.read_bytes()[:-1] + b"\x00")
    assert torch.equal(source.clips([0])[0].video, right)
    (shard,) = folder.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1] + b"\xa5")
    assert torch.equal(source.clips([0])[0].video, right)
    kept.unlink()
    with pytest.raises(BrokenShard, match=shard.name):
        source.clips([0])


def test_what_has_no_pixels_is_named(tmp_path: Path) -> None:
    one = sample(1)
    folder = written(tmp_path / "dataset", [Sample(one.about, {LATENTS: torch.zeros(4, 1, 1, 1)})])
    with pytest.raises(BrokenDataset, match=r"line 1: no pixels of \(3, 4, 6, 3\)"):
        opened(folder, tmp_path / "cache").clips([0])


@pytest.mark.parametrize(
    ("old", "new"), [('"frames":3', '"frames":0'), ('"fps":8.0', '"fps":NaN'), ('"fps":8.0', '"fps":-1')]
)
def test_shapes_out_of_bounds_are_refused(tmp_path: Path, old: str, new: str) -> None:
    folder = written(tmp_path / "dataset", [sample(1), sample(2)])
    index, manifest = folder / INDEX_FILE, folder / MANIFEST_FILE
    shape = '"shape":{"fps":8.0,"frames":3'
    assert shape in index.read_text()
    spoilt = index.read_text().replace(shape, shape.replace(old, new))
    before = DatasetManifest.read(FolderReader(folder)).index
    told = before.model_copy(update={"bytes": len(spoilt), "sha256": sha256(spoilt.encode()).hexdigest()})
    text = (
        manifest.read_text()
        .replace(before.sha256, told.sha256)
        .replace(f'"bytes":{before.bytes}', f'"bytes":{told.bytes}')
    )
    index.write_text(spoilt)
    manifest.write_text(text)
    with pytest.raises(BrokenDataset, match="out of bounds"):
        opened(folder, tmp_path / "cache")


@pytest.mark.parametrize("samples", [0, 1, 3])
def test_a_manifest_that_miscounts_is_refused(tmp_path: Path, samples: int) -> None:
    folder = written(tmp_path / "dataset", [sample(1), sample(2)])
    manifest = folder / MANIFEST_FILE
    manifest.write_bytes(manifest.read_bytes().replace(b'"samples":2', f'"samples":{samples}'.encode()))
    with pytest.raises(BrokenDataset, match=r"samples|lines"):
        opened(folder, tmp_path / "cache")
