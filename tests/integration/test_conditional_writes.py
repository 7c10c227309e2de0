"""Both object stores refuse a write whose condition does not hold; S3 is a real MinIO, and bad stores real servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kinema_api.errors import (
    BucketMissing,
    StaleWrite,
    StorageDenied,
    StorageError,
    StorageUnreachable,
    StoreLacksConditionalWrites,
    StoreUnusable,
)
from kinema_api.objectstore import ObjectStore, StoreCredentials, StoreLocation
from kinema_api.objectstores import S3Store, open_store

KEYS = StoreCredentials(access_key="kinema-test", secret_key="kinema-test-secret")
WRITERS = 8


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        (tmp_path / "bucket").mkdir()
        return open_store(StoreLocation(endpoint=f"file://{tmp_path}", bucket="bucket"), None)
    location = StoreLocation(endpoint=request.getfixturevalue("minio_endpoint"), bucket="conditional")
    made = S3Store(location, KEYS)
    if not made._client.bucket_exists(bucket_name="conditional"):
        made._client.make_bucket(bucket_name="conditional")
    for left in made.list(""):
        made.delete(left.key)
    return made


def etag(store: ObjectStore, key: str) -> str:
    found = store.stat(key)
    assert found is not None
    return found.etag


def test_what_exists_is_not_created_again(store: ObjectStore) -> None:
    first = store.put_if("a/head.json", b"1", None)
    with pytest.raises(StaleWrite, match="read it again"):
        store.put_if("a/head.json", b"2", None)
    assert store.get("a/head.json") == b"1"
    assert etag(store, "a/head.json") == first


def test_a_listed_version_is_one_that_a_write_can_be_held_to(store: ObjectStore) -> None:
    store.put_if("a/report.json", b"1", None)
    (listed,) = store.list("a/")
    store.put_if("a/report.json", b"2", listed.etag)
    with pytest.raises(StaleWrite):
        store.put_if("a/report.json", b"3", listed.etag)


def test_only_the_version_that_was_seen_is_replaced(store: ObjectStore) -> None:
    first = store.put_if("head.json", b"1", None)
    second = store.put_if("head.json", b"2", first)
    with pytest.raises(StaleWrite):
        store.put_if("head.json", b"3", first)
    assert store.get("head.json") == b"2"
    assert store.put_if("head.json", b"3", second) == etag(store, "head.json")


def test_what_is_gone_is_no_version(store: ObjectStore) -> None:
    first = store.put_if("head.json", b"1", None)
    store.delete("head.json")
    with pytest.raises(StaleWrite):
        store.put_if("head.json", b"2", first)
    assert store.stat("head.json") is None


def test_a_plain_write_is_seen_by_the_next_conditional_one(store: ObjectStore) -> None:
    first = store.put_if("head.json", b"1", None)
    store.put("head.json", b"other")
    with pytest.raises(StaleWrite):
        store.put_if("head.json", b"2", first)


@pytest.mark.parametrize("exists", [False, True])
def test_of_many_writers_at_once_exactly_one_wins(store: ObjectStore, exists: bool) -> None:
    for turn in range(10):
        key = f"race-{exists}-{turn}.json"
        seen = store.put_if(key, b"start", None) if exists else None
        together = threading.Barrier(WRITERS)

        def write(
            number: int, key: str = key, seen: str | None = seen, together: threading.Barrier = together
        ) -> int | None:
            together.wait()
            try:
                store.put_if(key, f"writer {number}".encode(), seen)
            except StaleWrite:
                return None
            return number

        with ThreadPoolExecutor(WRITERS) as threads:
            won = [number for number in threads.map(write, range(WRITERS)) if number is not None]
        assert len(won) == 1
        assert store.get(key) == f"writer {won[0]}".encode()


def test_a_counted_value_loses_no_increment(store: ObjectStore) -> None:
    store.put_if("count", b"0", None)

    def add(_: int) -> None:
        written = False
        while not written:
            seen = etag(store, "count")
            with suppress(StaleWrite):
                store.put_if("count", str(int(store.get("count")) + 1).encode(), seen)
                written = True

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(add, range(40)))
    assert store.get("count") == b"40"


def test_keys_with_any_characters_are_signed_as_they_are_sent(store: ObjectStore) -> None:
    key = "a b/ü+%20&=~/head.json"
    seen = store.put_if(key, b"1", None)
    assert store.put_if(key, b"2", seen) == etag(store, key)
    assert [found.key for found in store.list("a b/")] == [key]


def test_the_content_type_is_kept_and_the_condition_is_no_metadata(minio_endpoint: str) -> None:
    s3 = S3Store(StoreLocation(endpoint=minio_endpoint, bucket="typed"), KEYS)
    if not s3._client.bucket_exists(bucket_name="typed"):
        s3._client.make_bucket(bucket_name="typed")
    s3.put_if("head.json", b"{}", None, "application/json")
    found = s3._client.stat_object(bucket_name="typed", object_name="head.json")
    assert found.content_type == "application/json"
    assert not [name for name in found.metadata or {} if "match" in name.lower()]


def test_refusals_keep_their_class(minio_endpoint: str, tmp_path: Path) -> None:
    location = StoreLocation(endpoint=minio_endpoint, bucket="not-there")
    with pytest.raises(BucketMissing, match="create it"):
        open_store(location, KEYS).put_if("x", b"1", None)
    with pytest.raises(BucketMissing, match="create it"):
        open_store(StoreLocation(endpoint=f"file://{tmp_path}", bucket="not-there"), None).put_if("x", b"1", None)
    wrong = StoreCredentials(access_key="kinema-test", secret_key="wrong-secret")
    with pytest.raises(StorageDenied, match="check the keys"):
        open_store(location, wrong).put_if("x", b"1", None)
    with pytest.raises(StorageUnreachable, match="refuses connections"):
        open_store(StoreLocation(endpoint="http://127.0.0.1:9", bucket="bucket"), KEYS).put_if("x", b"1", None)


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[tuple[ObjectStore, list[str]]]:
    """A store that answers every PUT alike; the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        location = StoreLocation(endpoint=f"http://127.0.0.1:{server.server_port}", bucket="bucket")
        yield open_store(location, KEYS), asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "headers", "error", "words"),
    [
        (412, b"", {}, StaleWrite, "another client meanwhile"),
        (409, b"<Error><Code>ConditionalRequestConflict</Code></Error>", {}, StaleWrite, "another client meanwhile"),
        (409, b"<Error><Code>NoSuchBucket</Code></Error>", {}, BucketMissing, "create it"),
        (501, b"<Error><Code>NotImplemented</Code></Error>", {}, StoreLacksConditionalWrites, "use one that does"),
        (503, b"<Error><Code>SlowDown</Code></Error>", {}, StorageUnreachable, "the operation is retried"),
        (200, b"", {}, StorageError, "no ETag"),
        (302, b"", {"Location": "http://127.0.0.1:9/elsewhere"}, StoreUnusable, "redirects"),
        (400, b"<html>not a store</html>", {}, StorageError, "400"),
    ],
)
def test_whatever_a_store_answers_is_one_of_the_storage_errors(
    status: int, body: bytes, headers: dict[str, str], error: type[Exception], words: str
) -> None:
    with answering(status, body, **headers) as (store, asked):
        with pytest.raises(StorageError, match=words) as found:
            store.put_if("head.json", b"1", "seen")
        assert type(found.value) is error
        assert asked == ["/bucket/head.json"], "asked once, and nothing was followed"
