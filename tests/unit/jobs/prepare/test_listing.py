"""What below a prefix is an input, of which version; a bucket that changes meanwhile is noticed and named."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch

from kinema_api import folderstore
from kinema_api.errors import ObjectTooLarge
from kinema_api.folderstore import FolderStore
from kinema_api.objectstore import PAGE, ObjectStat, StoreLocation
from kinema_dataset.errors import BrokenDataset
from kinema_dataset.index import BESIDE, finish
from kinema_dataset.issues import Issues, Reason
from kinema_dataset.reading import FolderReader
from kinema_dataset.shards import write_shard
from kinema_dataset.source import DatasetSource
from kinema_jobs.errors import InputChanged
from kinema_jobs.prepare import listing as module
from kinema_jobs.prepare.caption_files import read_captions, read_tar
from kinema_jobs.prepare.dataset_reader import StoreReader
from kinema_jobs.prepare.listing import changes, fetch, list_inputs, pieces
from unit.dataset.shard_samples import sample


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    (tmp_path / "bucket").mkdir()
    return FolderStore(StoreLocation(endpoint=f"file://{tmp_path}", bucket="bucket"))


def fill(store: FolderStore, **files: bytes) -> None:
    for name, data in files.items():
        store.put("v/" + name.replace("__", "/").replace("_", "."), data)


def test_inputs_are_told_by_their_endings(store: FolderStore) -> None:
    kept = ["a.mp4", "b/c.MOV", "d.webm", "e.mkv", "f.png", "g.jpg", "h.jpeg", "i.webp"]
    for name in (*kept, "t.tar", "a.txt", "b/c.json", "metadata.csv", "b/metadata.jsonl"):
        store.put(f"v/{name}", b"x")
    for name in ("readme.md", ".DS_Store", "._a.mp4", "a.avi", "mp4", "metadata.txt.bak"):
        store.put(f"v/{name}", b"x")
    store.put("v/empty.mp4", b"")
    store.put("other/z.mp4", b"x")
    found = list_inputs(store, "v/")
    assert list(found.clips) == sorted(f"v/{name}" for name in kept)
    assert list(found.tars) == ["v/t.tar"]
    assert list(found.sidecars) == ["v/a.txt", "v/b/c.json"]
    assert list(found.tables) == ["v/b/metadata.jsonl", "v/metadata.csv"]
    assert found.issues.counts == {Reason.NOT_A_CLIP: 6, Reason.EMPTY_FILE: 1}
    assert "v/empty.mp4: it has no bytes" in found.issues.sentences[Reason.EMPTY_FILE][0]
    known = store.stat("v/a.mp4")
    assert known is not None
    file = found.clips["v/a.mp4"]
    assert (file.uri, file.etag, file.bytes) == (store.uri("v/a.mp4"), known.etag, 1)


class ManyObjects(FolderStore):
    """A store of so many clips, which counts its pages; each is made when it is asked for."""

    def __init__(self, count: int) -> None:
        super().__init__(StoreLocation(endpoint="file:///nowhere", bucket="bucket"))
        self.count, self.asked = count, 0

    def pages(self, prefix: str) -> Iterator[Sequence[ObjectStat]]:
        for first in range(0, self.count, PAGE):
            self.asked += 1
            keys = range(first, min(first + PAGE, self.count))
            yield [ObjectStat(f"{prefix}{key:07d}.mp4", 1, "e", 0.0) for key in keys]

    def uri(self, key: str) -> str:
        return f"s3://bucket/{key}"


def test_many_objects_are_listed_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ManyObjects(3_456)
    assert len(list_inputs(store, "v/").clips) == 3_456
    assert store.asked == 4
    monkeypatch.setattr(module, "MAX_OBJECTS", 2500)
    with pytest.raises(ObjectTooLarge, match="more than 2500 objects"):
        list_inputs(ManyObjects(1 << 60), "v/")


def test_names_that_cannot_be_told_are_counted(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "bucket" / "v").mkdir()
    (tmp_path / "bucket" / "v" / "bad\udcff.mp4").write_bytes(b"x")
    long = "é" * 120
    store.put(f"v/{long}/{long}/{long}/a.mp4", b"x")
    found = list_inputs(store, "v/")
    assert not found.clips
    assert found.issues.counts == {Reason.BAD_NAME: 2}
    assert all(sentence.encode() for sentence in found.issues.sentences[Reason.BAD_NAME])


def test_a_bucket_that_changes_is_noticed_and_named(store: FolderStore, tmp_path: Path) -> None:
    fill(store, a_mp4=b"one", b_mp4=b"two", c_mp4=b"three", a_txt=b"a fox")
    found = list_inputs(store, "v/")
    assert changes(store, found) == []
    fill(store, a_mp4=b"new", d_mp4=b"four", a_txt=b"a cat")
    store.delete("v/b.mp4")
    words = {"a.mp4 changed", "d.mp4 was added", "a.txt changed", "b.mp4 is gone"}
    told = changes(store, found)
    assert len(told) == len(words)
    assert all(any(word in sentence for sentence in told) for word in words)
    for key, word in (("v/a.mp4", "changed"), ("v/b.mp4", "gone")):
        with pytest.raises(InputChanged, match=rf"{key}.*{word}"):
            fetch(store, key, found.clips[key], tmp_path / "out")
    fetch(store, "v/c.mp4", found.clips["v/c.mp4"], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"three"


def test_an_input_that_changes_while_it_is_read_is_not_mixed(store: FolderStore) -> None:
    fill(store, a_mp4=b"a" * (folderstore.HASHED_BYTES + 10))
    file = list_inputs(store, "v/").clips["v/a.mp4"]
    read = pieces(store, "v/a.mp4", file, piece=1000)
    assert next(read) == b"a" * 1000
    fill(store, a_mp4=b"b" * (folderstore.HASHED_BYTES + 11))
    with pytest.raises(InputChanged, match="changed after the bucket was listed"):
        next(read)


def test_captions_are_read_of_the_listed_versions(store: FolderStore) -> None:
    table = json.dumps({"file_name": "b.mp4", "text": "a cat"}) + "\n"
    fill(
        store, a_mp4=b"x", b_mp4=b"x", c_mp4=b"x", a_txt=b"a fox", c_txt=b"f" * (1 << 20), metadata_jsonl=table.encode()
    )
    fill(store, sub__metadata_csv=b"nothing\n")
    found = list_inputs(store, "v/")
    captions, issues = read_captions(store, found)
    assert {key: said.short for key, said in captions.items()} == {"v/a.mp4": "a fox", "v/b.mp4": "a cat"}
    assert issues.counts == {Reason.TOO_LONG: 1, Reason.UNREADABLE: 1, Reason.MISSING: 1}
    fill(store, a_txt=b"a dog")
    with pytest.raises(InputChanged, match=r"a\.txt"):
        read_captions(store, found)


def test_each_process_opens_a_store_of_its_own(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("d/a", b"abc")
    reader = pickle.loads(pickle.dumps(StoreReader(partial(FolderStore, store.location), "d/")))
    opened: list[int] = []
    counted = StoreReader(lambda: opened.append(1) or store, "d/")  # type: ignore[func-returns-value]
    assert [one.read("a", 1, 2) for one in (reader, counted, counted)] == [b"bc"] * 3
    monkeypatch.setattr("kinema_jobs.prepare.dataset_reader.os.getpid", lambda: -1)
    assert counted.whole("a") == b"abc"
    assert len(opened) == 2


def test_clips_of_a_tar_are_found_in_the_store(store: FolderStore) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, data in (("1.mp4", b"clip" * 1000), ("1.txt", b"a fox")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    fill(store, t_tar=out.getvalue())
    file = list_inputs(store, "v/").tars["v/t.tar"]
    issues = Issues()
    (clip,) = read_tar(store, "v/t.tar", file, issues)
    assert clip.captions is not None
    assert clip.captions.short == "a fox"
    assert store.get_range("v/t.tar", clip.member.first, clip.member.bytes) == b"clip" * 1000
    assert not issues.counts


def test_a_training_reads_a_dataset_from_a_store(store: FolderStore, tmp_path: Path) -> None:
    folder = tmp_path / "bucket" / "datasets" / "d"
    folder.mkdir(parents=True)
    samples = [sample(1), sample(2)]
    finish(folder, write_shard(folder, samples).lines().splitlines(), {})
    tries: list[int] = []

    def twice(request: object) -> bytes:
        tries.append(1)
        return bytes(request())  # type: ignore[operator]

    source = DatasetSource(StoreReader(lambda: store, "datasets/d/", twice), tmp_path / "cache", 1 << 20)
    (clip,) = source.clips([0])
    assert any(torch.equal(clip.video, one.tensors["video"]) for one in samples)
    assert len(tries) == 3
    with pytest.raises(BrokenDataset, match=r"dataset\.json does not exist"):
        DatasetSource(StoreReader(lambda: store, "datasets/none/"), tmp_path / "cache", 0)


def test_datasets_of_one_folder_share_their_shards(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "one").mkdir()
    shard = write_shard(tmp_path / "shards", [sample(number) for number in range(3)])
    finish(tmp_path / "one", [shard.lines()[: shard.lines().index(b"\n") + 1]], {}, at=BESIDE)
    for path in (tmp_path / "shards" / shard.name, *(tmp_path / "one").iterdir()):
        store.put(f"datasets/team/0a/{path.parent.name}/{path.name}", path.read_bytes())
    stored = StoreReader(lambda: store, "datasets/team/0a/one/")
    for reader in (stored, FolderReader(tmp_path / "one")):
        (clip,) = DatasetSource(reader, tmp_path / "cache", 0).clips([0])
        assert torch.equal(clip.video, sample(0).tensors["video"])
    with pytest.raises(BrokenDataset, match="outside"):
        FolderReader(tmp_path / "one").whole("../../bucket")
