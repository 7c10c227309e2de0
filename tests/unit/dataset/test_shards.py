"""Shards and their index: read by ranges, one digest whoever wrote them, and no byte that is not checked."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from examples import examples
from kinema_dataset.errors import BrokenDataset, BrokenShard, SampleRefused
from kinema_dataset.index import INDEX_FILE, MANIFEST_FILE, DatasetManifest, fetch_index, finish
from kinema_dataset.reading import FolderReader
from kinema_dataset.records import Scores
from kinema_dataset.samples import SampleRecord
from kinema_dataset.shards import VIDEO, Sample, Shard, check_shard, groups, read_sample, write_shard
from unit.dataset.shard_samples import sample


class CountedReader(FolderReader):
    """Notes each request."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.requests: list[tuple[str, int, int]] = []

    def read(self, name: str, first: int, length: int) -> bytes:
        self.requests.append((name, first, length))
        return super().read(name, first, length)


def dataset(folder: Path, samples: list[Sample], size: int = 3) -> tuple[DatasetManifest, list[Shard]]:
    shards = [write_shard(folder, samples[at : at + size]) for at in range(0, len(samples), size)]
    lines = [line for shard in shards for line in shard.lines().splitlines()]
    return finish(folder, lines, {"codec": "none"}), shards


def test_a_sample_is_read_by_one_request(tmp_path: Path) -> None:
    samples = [sample(n, frames=1 + n) for n in range(4)]
    shard = write_shard(tmp_path, samples)
    reader = CountedReader(tmp_path)
    for one, record in zip(samples, shard.records, strict=True):
        found = read_sample(reader, record)
        assert found.keys() == one.tensors.keys()
        assert all(torch.equal(found[name], one.tensors[name]) for name in found)
        assert all(found[name].dtype == one.tensors[name].dtype for name in found)
    assert len(reader.requests) == len(samples)


def test_the_safetensors_library_reads_a_shard(tmp_path: Path) -> None:
    samples = [sample(n, frames=1 + n, width=5, height=3) for n in range(3)]
    samples[1] = replace(samples[1], tensors={**samples[1].tensors, "latents": torch.randn(2, 1, 3, 1)})
    shard = write_shard(tmp_path, samples)
    found = load_file(tmp_path / shard.name)
    wanted = {f"{n:06d}/{name}": tensor for n, one in enumerate(samples) for name, tensor in one.tensors.items()}
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in found)
    assert shard.length == (tmp_path / shard.name).stat().st_size
    assert shard.name == f"{sha256((tmp_path / shard.name).read_bytes()).hexdigest()}.safetensors"


def test_equal_samples_make_equal_files(tmp_path: Path) -> None:
    one, again = (write_shard(tmp_path, [sample(1), sample(2)]) for _ in range(2))
    assert one == again
    assert [path.name for path in tmp_path.iterdir()] == [one.name]


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_and_named(at: int, bit: int) -> None:
    with TemporaryDirectory() as root:
        folder = Path(root)
        shard = write_shard(folder, [sample(1), sample(2)])
        start = shard.records[0].first
        at = start + at % (shard.length - start)
        data = bytearray((folder / shard.name).read_bytes())
        data[at] ^= 1 << bit
        (folder / shard.name).write_bytes(data)
        with pytest.raises(BrokenShard, match=shard.name) as broken:
            check_shard(FolderReader(folder), shard.records)
        assert "videos/0000" in str(broken.value)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({}, "fits into no shard"),
        ({VIDEO: torch.zeros(2, dtype=torch.float64)}, "tensor video: dtype"),
        ({VIDEO: torch.zeros((), dtype=torch.uint8)}, "tensor video: shape"),
        ({VIDEO: torch.zeros((2, 0), dtype=torch.uint8)}, r"tensor video: shape\.1"),
        ({"../video": torch.zeros(2, dtype=torch.uint8)}, "name"),
    ],
)
def test_what_no_shard_can_hold_is_refused(tmp_path: Path, tensors: dict[str, torch.Tensor], words: str) -> None:
    with pytest.raises(SampleRefused, match=words):
        write_shard(tmp_path, [replace(sample(1), tensors=tensors)])
    assert not list(tmp_path.iterdir())


@settings(max_examples=examples(40))
@given(seed=st.integers(0, 2**32), size=st.integers(1, 7))
def test_any_order_of_workers_gives_the_same_digest_and_index_order(seed: int, size: int) -> None:
    samples = [sample(source, shot) for source in range(3) for shot in range(2)]
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        undisturbed, _ = dataset(Path(one), samples)
        shuffled = random.Random(seed).sample(samples, len(samples))
        # A worker that was killed has left a shard of its own, and another one has prepared the same segments again.
        again, _ = dataset(Path(other), shuffled + shuffled[:2], size)
        assert again.digest == undisturbed.digest
        order = [[line["about"] for line in map(json.loads, (Path(at) / INDEX_FILE).open())] for at in (one, other)]
        assert order[0] == order[1]


def test_the_digest_is_of_what_a_training_sees(tmp_path: Path) -> None:
    base = [sample(1), sample(2)]
    folders = iter(range(9))

    def digest(samples: list[Sample], settings: str = "none") -> str:
        folder = tmp_path / str(next(folders))
        folder.mkdir()
        return finish(folder, write_shard(folder, samples).lines().splitlines(), {"codec": settings}).digest

    scores = Scores(motion=1, stillness=0, sharpness=1, brightness=0.5, text=0, letterbox=0)
    scored = replace(base[0], about=base[0].about.model_copy(update={"scores": scores, "etag": "other"}))
    said = base[0].about.captions.model_copy(update={"short": "another"})
    told = replace(base[0], about=base[0].about.model_copy(update={"captions": said}))
    seen = replace(base[0], tensors={**base[0].tensors, VIDEO: base[0].tensors[VIDEO] ^ 1})
    assert digest(base) == digest([scored, base[1]])
    assert len({digest(base), digest(base[:1]), digest([told, base[1]]), digest([seen, base[1]])}) == 4
    assert digest(base) != digest(base, "unshuffle")


def test_a_segment_with_two_contents_is_refused(tmp_path: Path) -> None:
    other = replace(sample(1), tensors={VIDEO: torch.zeros((3, 4, 6, 3), dtype=torch.uint8)})
    lines = [line for one in (sample(1), other) for line in write_shard(tmp_path, [one]).lines().splitlines()]
    with pytest.raises(BrokenDataset, match=r"videos/00001.mp4, frames 0 to 3: two shards"):
        finish(tmp_path, lines, {})
    assert not (tmp_path / MANIFEST_FILE).exists()


def test_nothing_half_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BrokenDataset, match=MANIFEST_FILE):
        DatasetManifest.read(FolderReader(tmp_path))
    shard = write_shard(tmp_path, [sample(1)])
    monkeypatch.setattr("kinema_dataset.index.os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        finish(tmp_path, shard.lines().splitlines(), {})
    assert [path.name for path in tmp_path.iterdir()] == [shard.name]


def test_an_empty_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenDataset, match="every clip was dropped"):
        finish(tmp_path, [], {})


@pytest.mark.parametrize("spoil", [lambda d: d[:-1], lambda d: d.replace(b"clip", b"CLIP", 1), lambda d: b"\xff" + d])
def test_a_damaged_index_is_refused(tmp_path: Path, spoil: object) -> None:
    manifest, _ = dataset(tmp_path, [sample(1), sample(2)])
    cache = tmp_path / "cache"
    cache.mkdir()
    index = tmp_path / INDEX_FILE
    index.write_bytes(spoil(index.read_bytes()))  # type: ignore[operator]
    with pytest.raises(BrokenDataset, match=INDEX_FILE):
        fetch_index(FolderReader(tmp_path), manifest, cache)
    assert not list(cache.iterdir())


def test_an_index_is_fetched_once(tmp_path: Path) -> None:
    manifest, _ = dataset(tmp_path, [sample(1), sample(2)])
    reader = CountedReader(tmp_path)
    paths = {fetch_index(reader, manifest, tmp_path) for _ in range(2)}
    assert len(reader.requests) == len(paths) == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"length":', b'"length":1', "length must be the sum"),
        (b'"first":', b'"first":-', "first"),
        (b'"shard":"', b'"shard":"../', "shard"),
        (b'"dtype":"U8"', b'"dtype":"PICKLE"', "dtype"),
        (b'"starts":[0]', b'"starts":[1]', "starts"),
        (b'{"about"', b"about", "record"),
    ],
)
def test_a_record_that_lies_is_refused(tmp_path: Path, old: bytes, new: bytes, words: str) -> None:
    line = write_shard(tmp_path, [sample(1)]).lines()
    assert old in line
    with pytest.raises(BrokenDataset, match=words):
        SampleRecord.from_line(line.replace(old, new), "line 1")


def test_shards_are_filled_to_about_their_target() -> None:
    samples = [sample(n) for n in range(7)]
    size = sum(tensor.nbytes for tensor in samples[0].tensors.values())
    assert [len(group) for group in groups(samples, 3 * size)] == [3, 3, 1]
    assert [len(group) for group in groups(samples, 1)] == [1] * 7
