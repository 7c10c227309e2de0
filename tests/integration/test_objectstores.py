"""Both object stores behave the same, and name what is wrong; S3 is a real MinIO."""

from __future__ import annotations

import hashlib
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest

from kinema_api.errors import BucketMissing, ObjectMissing, RangeMissing, StaleWrite, StorageDenied, StorageUnreachable
from kinema_api.objectstore import ObjectStore, StoreCredentials, StoreLocation
from kinema_api.objectstores import S3Store, open_store

KEYS = StoreCredentials(access_key="kinema-test", secret_key="kinema-test-secret")


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        (tmp_path / "bucket").mkdir()
        return open_store(StoreLocation(endpoint=f"file://{tmp_path}", bucket="bucket"), None)
    location = StoreLocation(endpoint=request.getfixturevalue("minio_endpoint"), bucket="bucket")
    made = S3Store(location, KEYS)
    if not made._client.bucket_exists(bucket_name="bucket"):
        made._client.make_bucket(bucket_name="bucket")
    return made


def test_round_trip(store: ObjectStore, tmp_path: Path) -> None:
    store.check()
    store.put("a/b.bin", b"hello")
    assert store.get("a/b.bin") == b"hello"
    assert store.sha256("a/b.bin") == (hashlib.sha256(b"hello").hexdigest(), 5)
    found = store.stat("a/b.bin")
    assert found is not None
    assert found.bytes == 5
    store.copy("a/b.bin", "c.bin", if_etag=found.etag)
    assert store.get("c.bin") == b"hello"
    store.get_file("c.bin", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == b"hello"
    assert [s.key for s in store.list("a/")] == ["a/b.bin"]
    store.delete("a/b.bin")
    assert store.stat("a/b.bin") is None
    with pytest.raises(ObjectMissing, match="does not exist"):
        store.get("a/b.bin")


def test_a_copy_of_a_changed_object_is_refused(store: ObjectStore) -> None:
    store.put("x", b"1")
    seen = store.stat("x")
    assert seen is not None
    store.put("x", b"other")
    with pytest.raises(Exception, match=r"PreconditionFailed|changed"):
        store.copy("x", "y", if_etag=seen.etag)
    assert store.stat("y") is None


def test_a_range_is_read_of_the_version_that_is_meant(store: ObjectStore) -> None:
    store.put("r/x", bytes(range(200)))
    found = store.stat("r/x")
    assert found is not None
    assert store.get_range("r/x", 10, 5) == bytes(range(10, 15))
    assert store.get_range("r/x", 0, 1, found.etag) == b"\0"
    assert store.get_range("r/x", 7, 0) == b""
    for first, length in ((190, 11), (200, 1), (4000, 5)):
        with pytest.raises(RangeMissing, match="ends before"):
            store.get_range("r/x", first, length)
    with pytest.raises(ObjectMissing, match="does not exist"):
        store.get_range("r/none", 0, 1)
    store.put("r/x", bytes(200))
    with pytest.raises(StaleWrite, match="changed"):
        store.get_range("r/x", 0, 1, found.etag)


def test_pages_hold_every_object_once_in_the_order_of_keys(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinema_api.folderstore.PAGE", 3)
    monkeypatch.setattr("kinema_api.s3store.PAGE", 3)
    keys = ["p/a-b/c", "p/a.txt", "p/a/b/c", "p/a/é.mp4", "p/b", "p/b0", "p/z"]
    for key in keys:
        store.put(key, key.encode())
    pages = list(store.pages("p/"))
    assert [found for page in pages for found in page] == list(store.list("p/"))
    assert [len(page) for page in pages] == [3] * (len(keys) // 3) + [len(keys) % 3]
    assert [found.key for page in store.pages("p/a-") for found in page] == ["p/a-b/c"]
    assert list(store.pages("none/")) == []


def test_signed_addresses_work_without_credentials(minio_endpoint: str, tmp_path: Path) -> None:
    location = StoreLocation(endpoint=minio_endpoint, bucket="bucket")
    s3 = S3Store(location, KEYS)
    if not s3._client.bucket_exists(bucket_name="bucket"):
        s3._client.make_bucket(bucket_name="bucket")
    put = urllib.request.Request(s3.presign_put("p", timedelta(minutes=1)), data=b"clip", method="PUT")
    urllib.request.urlopen(put)
    assert urllib.request.urlopen(s3.presign_get("p", timedelta(minutes=1), public=True)).read() == b"clip"


def test_errors_say_what_to_do(minio_endpoint: str) -> None:
    wrong = StoreCredentials(access_key="kinema-test", secret_key="wrong-secret")
    with pytest.raises(StorageDenied, match="check the keys"):
        open_store(StoreLocation(endpoint=minio_endpoint, bucket="bucket"), wrong).get("x")
    with pytest.raises(BucketMissing, match="create it"):
        open_store(StoreLocation(endpoint=minio_endpoint, bucket="not-there"), KEYS).check()
    with pytest.raises(StorageUnreachable, match="refuses connections"):
        open_store(StoreLocation(endpoint="http://127.0.0.1:9", bucket="bucket"), KEYS).check()
