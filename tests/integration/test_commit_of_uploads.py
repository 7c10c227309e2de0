"""What a server's pod uploads by its signed addresses is checked before it is committed; the store is a real MinIO."""

from __future__ import annotations

import hashlib
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from minio import Minio

from integration.suite_store import KEYS, bucket
from kinema_api import layout
from kinema_api.generation import VideoGeneration
from kinema_api.objectstore import ObjectStore
from kinema_api.wire import UploadedFile
from kinema_operator.generation import commit
from kinema_operator.generation.effects import Commit
from kinema_operator.generation.observed import Inspection
from kinema_operator.generation.perform import copy_files

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PAGE = b"<script>document.write(document.cookie)</script>"
TYPES = {
    layout.VIDEO: "video/mp4",
    layout.THUMBNAIL: "image/webp",
    layout.SPRITESHEET: "image/webp",
    layout.REQUEST: "application/json",
}


class OneStore:
    """The same store for everybody."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def for_object(self, namespace: str, artifact_store: object) -> ObjectStore:
        return self._store


class Uploads:
    """One request's only attempt: what its server uploads and reports, and what the operator makes of it."""

    def __init__(self, endpoint: str, uid: str) -> None:
        self._store = bucket(endpoint, "uploads")
        self._client = Minio(endpoint.removeprefix("http://"), KEYS.access_key, KEYS.secret_key, secure=False)
        self._uid = uid
        spec = {"modelRef": {"name": "tiny"}, "prompt": "a red square"}
        metadata = {"name": "clip", "namespace": "films", "uid": uid}
        self._generation = VideoGeneration.parse({"metadata": metadata, "spec": spec})
        self._reported: list[UploadedFile] = []

    def upload(self, name: str, data: bytes, **headers: str) -> None:
        """PUT by the order's address, as whoever has taken the server over may do it."""
        key = layout.generation_attempt_prefix("films", self._uid, 1) + name
        url = self._store.presign_put(key, timedelta(hours=1))
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        request = urllib.request.Request(url, data=data, headers=given, method="PUT")
        urllib.request.urlopen(request, timeout=30).close()
        self._reported.append(UploadedFile(name=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)))

    async def committed(self) -> Inspection:
        """What becomes of them once everything is copied that the operator copies."""
        stores: Any = OneStore(self._store)
        for _ in range(len(self._reported) + 1):
            found = commit.inspect(self._store, "films", self._uid, 1, self._reported, 3600, NOW)
            if not found.copies:
                break
            assert await copy_files(self._generation, None, Commit(found.copies), stores) is None
        return found

    def lies(self) -> dict[str, dict[str, str]]:
        """Headers of what people can open, by file."""
        prefix = layout.generation_prefix("films", self._uid)
        found = self._client.list_objects(bucket_name="uploads", prefix=prefix)
        keys = [item.object_name for item in found if item.object_name and not item.is_dir]
        heads = {key: self._client.stat_object(bucket_name="uploads", object_name=key).metadata for key in keys}
        return {key.removeprefix(prefix): dict(head or {}) for key, head in heads.items()}


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("said", ["text/html", "text/html; charset=utf-8", "image/svg+xml", "application/octet-stream"])
async def test_a_server_cannot_have_a_web_page_committed_as_a_clip(name: str, said: str, minio_endpoint: str) -> None:
    uploads = Uploads(minio_endpoint, f"page-{name}-{said.partition('/')[2][:3]}{len(said)}")
    uploads.upload(name, PAGE, content_type=said)
    found = await uploads.committed()
    assert uploads.lies() == {}, "nobody can open it"
    assert found.broken is not None
    assert f"was uploaded as '{said}' and must be {TYPES[name]}" in found.broken


async def test_what_is_committed_has_the_content_type_of_its_name_and_no_other_header_of_the_server(
    minio_endpoint: str,
) -> None:
    uploads = Uploads(minio_endpoint, "headers")
    for name, content_type in TYPES.items():
        uploads.upload(
            name,
            b"bytes",
            content_type=f"{content_type.upper()}; charset=utf-8",
            content_disposition="inline; filename=clip.html",
            content_encoding="gzip",
            content_language="html",
            cache_control="max-age=31536000",
        )
    assert len((await uploads.committed()).committed) == len(TYPES)
    for name, headers in uploads.lies().items():
        told = {header.lower(): value for header, value in headers.items()}
        assert told["content-type"] == TYPES[name]
        others = ("content-disposition", "content-encoding", "content-language", "cache-control")
        assert not [header for header in others if header in told]


async def test_a_still_of_unbounded_size_is_not_committed(minio_endpoint: str) -> None:
    uploads = Uploads(minio_endpoint, "size")
    uploads.upload(layout.THUMBNAIL, bytes((16 << 20) + 1), content_type="image/webp")
    found = await uploads.committed()
    assert uploads.lies() == {}
    assert found.broken is not None
    assert f"more than the {16 << 20} allowed" in found.broken
