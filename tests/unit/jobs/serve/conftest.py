"""A real model on disk, a small object store over HTTP, and a server of the model on loopback."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import torch
from aiohttp import web
from aiohttp.test_utils import TestServer

from kinema_api import layout
from kinema_api.base import utc_now
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.wire import OrderState
from kinema_jobs.model_folder import sha256_of
from kinema_jobs.serve.app import make_app
from kinema_jobs.serve.service import open_service
from kinema_jobs.serve.settings import ServerSettings
from kinema_model.artefact import save_model
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser

PROMPT = "a red square moves right"
POLL_SECONDS = 0.005


def write_manifest(folder: Path) -> str:
    """Seal a model folder; answers the model's digest."""
    files = tuple(
        ManifestFile(name=p.relative_to(folder).as_posix(), sha256=sha256_of(p), bytes=p.stat().st_size)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != layout.MANIFEST
    )
    manifest = Manifest(
        kind="model", files=files, run=1, attempt=1, round=1, step=1, world_size=1, samples=1, created=utc_now()
    )
    (folder / layout.MANIFEST).write_bytes(manifest.to_bytes())
    return manifest.digest()


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A small, untrained, real model with its manifest."""
    config = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2)
    torch.manual_seed(0)
    folder = tmp_path / "published"
    save_model(folder, dict(VideoDenoiser(config).named_parameters()), config, "# A model for tests")
    write_manifest(folder)
    return folder


@dataclass
class HttpStore:
    """GET and PUT by name, as presigned addresses allow; can be made to fail or to wait."""

    objects: dict[str, bytes] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    """Answers 503 this many times per name."""
    refuse: set[str] = field(default_factory=set)
    """Answers 403."""
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    """PUTs wait until this is set."""
    puts: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a PUT has come."""
    requests: Counter[str] = field(default_factory=Counter)
    ranges: list[tuple[str, int]] = field(default_factory=list)
    """Name and first byte of each range that was answered."""
    without_ranges: bool = False
    on_range: Callable[[str, int], None] | None = None
    """Called when a range is answered."""
    base: str = ""

    def url(self, name: str) -> str:
        return f"{self.base}/{name}?X-Amz-Signature=topsecret"

    async def handle(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.requests[f"{request.method} {name}"] += 1
        if name in self.refuse:
            return web.Response(status=403)
        if self.failures[name] > 0:
            self.failures[name] -= 1
            return web.Response(status=503)
        if request.method == "PUT":
            self.puts.set()
            await self.hold.wait()
            self.objects[name] = await request.read()
            return web.Response()
        if name not in self.objects:
            return web.Response(status=404)
        wanted = request.http_range
        if wanted.stop is None or self.without_ranges:
            return web.Response(body=self.objects[name])
        self.ranges.append((name, wanted.start))
        if self.on_range is not None:
            self.on_range(name, wanted.start)
        return web.Response(status=206, body=self.objects[name][wanted])


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
async def store(model_folder: Path) -> AsyncIterator[HttpStore]:
    store = HttpStore(objects=_contents(model_folder))
    store.hold.set()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{name:.+}", store.handle)
    server = TestServer(app)
    await server.start_server()
    store.base = str(server.make_url("")).rstrip("/")
    yield store
    store.hold.set()
    await server.close()


@pytest.fixture
def digest(model_folder: Path) -> str:
    return Manifest.from_bytes((model_folder / layout.MANIFEST).read_bytes(), "manifest").digest()


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    return ServerSettings(
        cache_dir=tmp_path / "cache", retry_initial_seconds=0.01, retry_max_seconds=0.02, transfer_patience_seconds=1
    )


Order = Callable[..., dict[str, Any]]


@pytest.fixture
def make_order(store: HttpStore, model_folder: Path, digest: str) -> Order:
    """A work order as the operator sends it; keywords replace fields."""
    manifest = Manifest.from_bytes((model_folder / layout.MANIFEST).read_bytes(), "manifest")

    def make(**fields: Any) -> dict[str, Any]:
        uid, attempt = fields.get("uid", "uid-1"), fields.get("attempt", 1)
        return {
            "uid": uid,
            "attempt": attempt,
            "namespace": "films",
            "name": "red-square",
            "model": {
                "digest": digest,
                "manifestUrl": store.url(layout.MANIFEST),
                "files": [{"file": f.to_wire(), "url": store.url(f.name)} for f in manifest.files],
            },
            "prompt": PROMPT,
            "seconds": 1,
            "seed": 7,
            "steps": 2,
            "guidanceScale": 2,
            "uploads": [
                {"name": n, "url": store.url(f"out/{uid}/{attempt}/{n}")}
                for n in (layout.VIDEO, layout.THUMBNAIL, layout.SPRITESHEET, layout.REQUEST)
            ],
            **fields,
        }

    return make


@dataclass
class Server:
    """A running server and how the operator talks to it."""

    session: aiohttp.ClientSession
    base: str

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) else None
        json = None if isinstance(body, bytes) else body
        async with self.session.request(method, self.base + path, json=json, data=data) as response:
            return response.status, await response.json()

    async def submit(self, order: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return await self.ask("POST", "/v1/orders", order)

    async def until(self, uid: str, done: Callable[[OrderState], bool]) -> OrderState:
        """Ask for the state until `done` says so; pytest's time-out is the limit."""
        while True:
            status, body = await self.ask("GET", f"/v1/orders/{uid}")
            assert status == 200, body
            state = OrderState.parse(body)
            if done(state):
                return state
            # The server has the same processor: without it the test would mostly ask.
            await asyncio.sleep(POLL_SECONDS)

    async def ended(self, uid: str) -> OrderState:
        return await self.until(uid, lambda s: s.phase in ("succeeded", "failed", "cancelled"))


@pytest.fixture
async def server(digest: str, settings: ServerSettings) -> AsyncIterator[Server]:
    async with open_service(digest, settings) as service, aiohttp.ClientSession() as session:
        http = TestServer(make_app(service.book, service.models, settings.max_order_bytes))
        await http.start_server()
        yield Server(session, str(http.make_url("")).rstrip("/"))
        await service.book.drain(grace_seconds=10)
        await http.close()
