"""An address of a clip is signed for whoever may read its VideoGeneration, for a while, and for nobody else."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from kinema_api import generation
from kinema_api.objectstore import StoreCredentials, StoreLocation
from kinema_api.objectstores import open_store
from kinema_operator.generation.links import AUDIENCE, Links
from kinema_operator.shell.access import Access

URL = "/v1/namespaces/studio/videogenerations/red-square/links"


class Reviews:
    """An API server that knows one reader, by a token for one audience."""

    def __init__(self) -> None:
        self.readers = {"ann", "eve"}
        self.makers = {"eve"}

    async def review(self, manifest: dict[str, Any]) -> dict[str, Any]:
        spec = manifest["spec"]
        if manifest["kind"] == "TokenReview":
            known = {"reader": "ann", "stranger": "bob", "maker": "eve"}.get(spec["token"])
            ok = known is not None and spec.get("audiences") == [AUDIENCE]
            return {"status": {"authenticated": ok, "audiences": [AUDIENCE], "user": {"username": known}} if ok else {}}
        wanted = spec["resourceAttributes"]
        right = (wanted["resource"], wanted["namespace"]) == ("videogenerations", "studio")
        right = right and wanted["verb"] in ("get", "create" if spec["user"] in self.makers else "get")
        return {"status": {"allowed": spec["user"] in self.readers and right}}


class OneClip:
    """A cache, or an API server, with one generation."""

    def __init__(self, status: dict[str, Any], **spec: Any) -> None:
        self._status = status
        self._spec = {"modelRef": {"name": "tiny"}, "prompt": "x", **spec}

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        if (kind, namespace, name) != (generation.KIND, "studio", "red-square"):
            return None
        metadata = {"name": name, "namespace": namespace, "uid": "uid-clip"}
        return {"metadata": metadata, "spec": self._spec, "status": self._status}


class Stores:
    """One S3 store, which is never asked: signing is done here."""

    async def for_object(self, _namespace: str, _artifact_store: object) -> Any:
        keys = StoreCredentials(access_key="key", secret_key="secret-key")
        return open_store(StoreLocation(endpoint="http://127.0.0.1:9", bucket="clips"), keys)


VIDEO = {"uri": "s3://clips/x/video.mp4", "sha256": "a" * 64, "bytes": 4, "seconds": 1, "size": "24x24"}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """What answers, over HTTP."""
    reviews: Any = Reviews()
    cache: Any = OneClip({"phase": "Succeeded", "video": VIDEO})
    async with serving(reviews, cache) as opened:
        yield opened


@asynccontextmanager
async def serving(reviews: Any, cache: Any, reader: Any = None) -> AsyncIterator[aiohttp.ClientSession]:
    stores: Any = Stores()
    app = web.Application()
    app.add_routes(Links(Access(reviews), cache, stores, reader).routes())
    server = TestServer(app)
    await server.start_server()
    async with aiohttp.ClientSession(server.make_url("/")) as opened:
        yield opened
    await server.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer nobody"}, 401),
        ({"Authorization": "Basic reader"}, 401),
        ({"Authorization": "Bearer stranger"}, 403),
        ({"Authorization": "Bearer reader"}, 200),
        ({"Kinema-Authorization": "Bearer reader"}, 200),
        ({"Authorization": "Bearer reader", "Kinema-Authorization": "Bearer reader"}, 200),
        ({"Authorization": "Bearer stranger", "Kinema-Authorization": "Bearer reader"}, 400),
        ({"Authorization": "Bearer reader", "Kinema-Authorization": "Bearer stranger"}, 400),
    ],
)
async def test_who_gets_an_address(session: aiohttp.ClientSession, headers: dict[str, str], status: int) -> None:
    async with session.get(URL, headers=headers) as answer:
        assert answer.status == status
        body = await answer.json()
    if status == 200:
        assert "X-Amz-Expires=900" in body["video"]["url"]
        assert "/generations/studio/uid-clip/video.mp4" in body["video"]["url"]
        assert body["video"]["sha256"] == VIDEO["sha256"]
        assert answer.headers["Cache-Control"] == "no-store"
    else:
        assert "url" not in str(body.get("video", ""))


async def test_another_namespace_is_another_right(session: aiohttp.ClientSession) -> None:
    headers = {"Authorization": "Bearer reader"}
    async with session.get(URL.replace("studio", "other"), headers=headers) as answer:
        assert answer.status == 403
    async with session.get(URL.replace("red-square", "absent"), headers=headers) as answer:
        assert answer.status == 404


async def test_a_right_that_was_just_given_counts_at_once() -> None:
    reviews: Any = Reviews()
    headers = {"Authorization": "Bearer stranger"}
    async with serving(reviews, OneClip({"phase": "Succeeded", "video": VIDEO})) as session:
        async with session.get(URL, headers=headers) as answer:
            assert answer.status == 403
        reviews.readers.add("bob")
        async with session.get(URL, headers=headers) as answer:
            assert answer.status == 200


class ApiServer:
    """What the API server has by now, where the cache is a moment behind."""

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return OneClip({"phase": "Succeeded", "video": VIDEO}).get(kind, namespace, name)


async def test_a_standby_whose_cache_is_behind_answers_for_a_clip_that_is_done() -> None:
    async with serving(Reviews(), OneClip({"phase": "Running"}), ApiServer()) as session:
        async with session.get(URL, headers={"Authorization": "Bearer reader"}) as answer:
            assert answer.status == 200
        absent = URL.replace("red-square", "absent")
        async with session.get(absent, headers={"Authorization": "Bearer reader"}) as answer:
            assert answer.status == 404


UPLOAD = {"upload": {"sha256": "a" * 64, "bytes": 12}}


@pytest.mark.parametrize(
    ("token", "field", "status", "answer"),
    [
        ("maker", "input", {}, 200),
        ("maker", "input", {"phase": "Pending"}, 200),
        ("reader", "input", {}, 403),
        ("stranger", "input", {}, 403),
        ("nobody", "input", {}, 401),
        ("maker", "end", {}, 404),
        ("maker", "video.mp4", {}, 404),
        ("maker", "input", {"phase": "Cancelled"}, 404),
        ("maker", "input", {"inputs": [{"name": "input", "uri": "s3://clips/x", "etag": "e", "bytes": 12}]}, 404),
    ],
)
async def test_who_gets_a_form_for_which_upload(token: str, field: str, status: dict[str, Any], answer: int) -> None:
    cache = OneClip(status, task="image", input=UPLOAD)
    async with serving(Reviews(), cache) as session:
        url, headers = URL.replace("links", f"uploads/{field}"), {"Kinema-Authorization": f"Bearer {token}"}
        async with session.post(url, headers=headers) as answered:
            assert answered.status == answer
            body = await answered.json() if answered.content_type == "application/json" else {}
    if answer == 200:
        policy = json.loads(base64.b64decode(body["fields"]["policy"]))["conditions"]
        assert ["eq", "$key", "generations/studio/uid-clip/uploads/input"] in policy
        assert ["content-length-range", 12, 12] in policy
        assert body["url"] == "http://127.0.0.1:9/clips/"
    else:
        assert "fields" not in body
    if answer == 403:
        assert "--clusterrole=kinema-edit" in body["error"]
