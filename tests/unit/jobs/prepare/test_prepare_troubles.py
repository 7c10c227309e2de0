"""A bucket that changes while it is read, a captioner that fails, a byte that flips: counted, named, never mixed in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from kinema_api.folderstore import FolderStore
from kinema_api.prepare import PrepareConfig, PrepareResult
from kinema_dataset.errors import BrokenShard
from kinema_dataset.source import DatasetSource
from kinema_jobs.prepare import captioner
from kinema_jobs.prepare.dataset_reader import StoreReader
from kinema_jobs.prepare.job import Stores, prepare
from kinema_jobs.prepare.joining import CHANGED
from kinema_jobs.prepare.progress import Progress
from kinema_jobs.train.failures import BadConfiguration, StorageFailure
from unit.jobs.prepare.material import LENIENT, bucket, config, drawn, folder_store, settings
from unit.jobs.prepare.test_captioner import KEY, Endpoint, Handler, dropped, saying, status

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    made = folder_store(tmp_path)
    for number in range(3):
        made.put(f"videos/{number}.mp4", drawn(tmp_path / "one.mp4", number, frames=16))
        made.put(f"videos/{number}.txt", f"clip {number}".encode())
    return made


def run(store: FolderStore, tmp_path: Path, of: PrepareConfig, **env: str) -> PrepareResult:
    one = bucket(store)
    known = settings(tmp_path).model_copy(update=env)
    return prepare(of, known, Stores(one, one), Progress())


class ChangingStore(FolderStore):
    """Writes another version of a file as soon as its first bytes are asked for."""

    def __init__(self, store: FolderStore, key: str, data: bytes | None) -> None:
        super().__init__(store.location)
        self.key, self.data = key, data

    def get_range(self, key: str, first: int, length: int, if_etag: str | None = None) -> bytes:
        if key == self.key:
            self.delete(key)
            if self.data is not None:
                self.put(key, self.data)
        return super().get_range(key, first, length, if_etag)


@pytest.mark.parametrize("data", [b"another video", None])
def test_an_input_that_changes_while_it_is_read_is_named_and_left_out(
    store: FolderStore, tmp_path: Path, data: bytes | None
) -> None:
    of = config(filters=LENIENT)
    result = run(ChangingStore(store, "videos/1.mp4", data), tmp_path, of)
    assert result.datasets[0].dropped == {CHANGED: 1}
    assert result.datasets[0].samples == 2
    page = store.get(result.report).decode()
    assert "s3://bucket/videos/1.mp4" in page
    assert "prepare again to use it" in page
    assert not [found.key for found in store.list(of.datasets) if "/sums/" in found.key], "the next run looks again"


def test_captions_that_change_again_and_again_are_told(store: FolderStore, tmp_path: Path) -> None:
    with pytest.raises(StorageFailure, match=r"videos/1\.txt changed .* it has changed 5 times"):
        run(ChangingStore(store, "videos/1.txt", b"again" * 20_000), tmp_path, config(filters=LENIENT))


def test_a_byte_that_flips_in_a_shard_is_found_by_who_reads_it(store: FolderStore, tmp_path: Path) -> None:
    result = run(store, tmp_path, config(filters=LENIENT))
    prefix = result.datasets[0].prefix
    source = DatasetSource(StoreReader(lambda: store, prefix), tmp_path / "cache", 0)
    record = source.record(0)
    key = prefix.rstrip("/").rpartition("/")[0] + f"/shards/{record.shard}"
    whole = bytearray(store.get(key))
    whole[record.first + 5] ^= 1
    store.put(key, bytes(whole))
    with pytest.raises(BrokenShard, match=record.shard):
        source.clips([0])


@pytest.mark.parametrize("gone", ["/shards/", "/index.jsonl /dataset.json"])
def test_what_was_deleted_of_a_dataset_is_prepared_again(store: FolderStore, tmp_path: Path, gone: str) -> None:
    first = run(store, tmp_path, config(filters=LENIENT))
    keys = [found.key for found in store.list("datasets/") if any(part in found.key for part in gone.split())]
    for key in keys[:2]:
        store.delete(key)
    again = run(store, tmp_path, config(filters=LENIENT, name="other"))
    assert again.datasets[0].digest == first.datasets[0].digest
    source = DatasetSource(StoreReader(lambda: store, again.datasets[0].prefix), tmp_path / "cache", 0)
    assert len(source.clips(range(len(source)))) == 3
    assert all(store.stat(key) for key in keys)


def test_a_prefix_with_hostile_names_and_captions_is_shown_harmlessly(store: FolderStore, tmp_path: Path) -> None:
    video = drawn(tmp_path / "one.mp4", 9, frames=16)
    store.put('videos/<img src=x onerror="alert(1)">&.mp4', video)
    store.put('videos/<img src=x onerror="alert(1)">&.txt', b"<script>alert(2)</script> \xe2\x80\xae gnp.exe")
    store.put("videos/\u65e5\u672c \U0001f600.mp4", drawn(tmp_path / "one.mp4", 8, frames=16))
    store.put("videos/\u65e5\u672c \U0001f600.txt", "\u732b\u304c\u8d70\u308b".encode())
    result = run(store, tmp_path, config(filters=LENIENT))
    assert result.datasets[0].samples == 5
    page = store.get(result.report).decode()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "\u732b\u304c\u8d70\u308b" in page


Serve = Callable[..., Awaitable[tuple[Endpoint, dict[str, Any]]]]


@pytest.fixture
async def serve(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    """Starts a captioning endpoint on loopback; gives it, and the captions of a prefix that uses it."""
    servers: list[TestServer] = []
    monkeypatch.setattr(captioner, "_FIRST_PAUSE", 0.0)

    async def begin(*handlers: Handler) -> tuple[Endpoint, dict[str, Any]]:
        endpoint = Endpoint(*handlers)
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", endpoint.answer)
        server = TestServer(app, host="127.0.0.1")
        await server.start_server(shutdown_timeout=0)
        servers.append(server)
        return endpoint, {"endpoint": {"url": str(server.make_url("/v1")), "model": "seer"}}

    yield begin
    for server in servers:
        await server.close()


async def test_clips_without_a_caption_are_captioned_once(store: FolderStore, tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "key").write_text(KEY)
    store.delete("videos/1.txt")
    endpoint, captions = await serve(saying('{"short": "a pattern", "rich": "A pattern moves."}'))
    of = config(filters=LENIENT, captions=captions)
    result = await asyncio.to_thread(run, store, tmp_path, of, captioner_key_file=tmp_path / "key")
    source = DatasetSource(StoreReader(lambda: store, result.datasets[0].prefix), tmp_path / "cache", 0)
    shorts = {record.about.captions.short for record in map(source.record, range(len(source)))}
    assert shorts == {"clip 0", "a pattern", "clip 2"}
    assert len(endpoint.asked) == 1, "files come first"
    assert endpoint.keys == [f"Bearer {KEY}"]
    page = store.get(result.report).decode()
    assert "asked 1 times and took 900 tokens" in page
    assert KEY not in page
    assert all(KEY.encode() not in store.get(found.key) for found in store.list("") if found.bytes < 1 << 20)
    other = config(filters=LENIENT, captions=captions, name="other")
    again = await asyncio.to_thread(run, store, tmp_path, other)
    assert again.datasets[0].reused
    assert len(endpoint.asked) == 1


async def test_nonsense_of_a_captioner_is_counted(store: FolderStore, tmp_path: Path, serve: Serve) -> None:
    store.delete("videos/1.txt")
    _, captions = await serve(saying("I'm sorry, I cannot help with that."))
    result = await asyncio.to_thread(run, store, tmp_path, config(filters=LENIENT, captions=captions))
    assert result.datasets[0].dropped == {"no caption": 1}
    assert "model declined 1" in store.get(result.report).decode()


@pytest.mark.parametrize("handler", [dropped, status(500), status(429)])
async def test_a_captioner_that_is_away_is_waited_for(
    store: FolderStore, tmp_path: Path, serve: Serve, handler: Handler
) -> None:
    store.delete("videos/1.txt")
    _, captions = await serve(handler)
    of = config(filters=LENIENT, captions=captions)
    with pytest.raises(StorageFailure, match="answered nothing for any clip"):
        await asyncio.to_thread(run, store, tmp_path, of)
    assert len([found for found in store.list(of.datasets) if "/parts/" in found.key]) == 2, "the others are done"


async def test_a_clip_without_an_answer_is_counted_where_others_have_one(
    store: FolderStore, tmp_path: Path, serve: Serve
) -> None:
    for number in range(3):
        store.delete(f"videos/{number}.txt")
    good = saying('{"short": "a pattern", "rich": "A pattern moves."}')
    _, captions = await serve(good, status(500))
    result = await asyncio.to_thread(run, store, tmp_path, config(filters=LENIENT, captions=captions))
    assert (result.datasets[0].samples, result.datasets[0].dropped) == (1, {"no caption": 2})


async def test_a_captioner_that_refuses_the_key_is_an_error_of_the_user(
    store: FolderStore, tmp_path: Path, serve: Serve
) -> None:
    store.delete("videos/1.txt")
    _, captions = await serve(status(401))
    with pytest.raises(BadConfiguration, match=r"responds 401 to every request; check captions\.endpoint"):
        await asyncio.to_thread(run, store, tmp_path, config(filters=LENIENT, captions=captions))
