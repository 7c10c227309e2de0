"""A world for the controllers: the shell's own reconciler, servers on loopback that speak the wire contract, a folder
as object store, and an API server's memory with optimistic concurrency. The operator can be killed between any two
writes; servers can die, hang and wake up late."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from aiohttp import web

from kinema_api import generation, layout, names, serving
from kinema_api.errors import KinemaApiError, StorageUnreachable
from kinema_api.manifest import Manifest as ModelManifest
from kinema_api.manifest import ManifestFile
from kinema_api.objectstore import StoreLocation
from kinema_api.objectstores import FolderStore
from kinema_api.wire import OrderResult, OrderState, ServerState, UploadedFile, WorkOrder
from kinema_operator.errors import Conflict, NotFound
from kinema_operator.generation.controller import GenerationController
from kinema_operator.plan import Effect, Event, Key, Manifest, Ref
from kinema_operator.queue import WorkQueue
from kinema_operator.reconcile import Reconciler
from kinema_operator.resources import CHILD_KINDS, CUSTOM_KINDS
from kinema_operator.serving.controller import ModelController
from kinema_operator.settings import Settings

NAMESPACE = "studio"
MODEL = "tiny"
WEIGHTS = b"weights"
_hosts = itertools.count(2)


class Killed(BaseException):
    """The operator's process is gone; nothing in it may catch this."""


@dataclass
class Tripwire:
    """Kills the operator before its `at`-th write, which is after the one before it."""

    at: int | None = None
    steps: int = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise Killed


class ApiMemory:
    """Objects with resource versions: reads, and writes that conflict as on an API server."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.events: list[tuple[str, str]] = []
        self.attempts: dict[str, list[int]] = {}
        self._version = itertools.count(1)

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self.objects.get((kind, namespace, name))

    def list(self, kind: str, namespace: str | None = None, labels: dict[str, str] | None = None) -> Iterable[Manifest]:
        for (of, within, _), obj in list(self.objects.items()):
            own = obj["metadata"].get("labels", {})
            if of == kind and within == namespace and all(own.get(k) == v for k, v in (labels or {}).items()):
                yield obj

    def watches(self, kind: str) -> bool:
        return kind in CUSTOM_KINDS or kind in CHILD_KINDS

    def put(self, obj: dict[str, Any]) -> dict[str, Any]:
        metadata = obj["metadata"]
        version = str(next(self._version))
        written = {**obj, "metadata": {"uid": f"uid-{version}", **metadata, "resourceVersion": version}}
        self.objects[(obj["kind"], metadata["namespace"], metadata["name"])] = written
        return written


class ApiWrites:
    """The client of one operator: every write passes its tripwire."""

    def __init__(self, memory: ApiMemory, wire: Tripwire) -> None:
        self._memory = memory
        self._wire = wire

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self._memory.get(kind, namespace, name)

    async def apply(self, manifest: Manifest) -> dict[str, Any]:
        self._wire.step()
        metadata = manifest["metadata"]
        live = self._memory.get(manifest["kind"], metadata["namespace"], metadata["name"]) or {}
        kept = {k: v for k, v in live.get("metadata", {}).items() if k == "uid"}
        return self._memory.put({**live, **manifest, "metadata": {**metadata, **kept}})

    async def patch(self, ref: Ref, body: Manifest, resource_version: str) -> dict[str, Any]:
        self._wire.step()
        live = self._memory.get(ref.kind, ref.namespace, ref.name)
        if live is None:
            raise NotFound("PATCH", ref.name)
        if live["metadata"]["resourceVersion"] != resource_version:
            raise Conflict("PATCH", ref.name)
        made = self._memory.put(merged(live, body))
        if ref.kind == generation.KIND:
            attempts = self._memory.attempts.setdefault(ref.name, [])
            attempts.append(made["status"].get("attempt", 0))
        return made

    async def patch_status(self, ref: Ref, status: Manifest, resource_version: str) -> dict[str, Any]:
        return await self.patch(ref, {"status": status}, resource_version)

    async def delete(self, ref: Ref) -> bool:
        self._wire.step()
        live = self._memory.get(ref.kind, ref.namespace, ref.name)
        found = live is not None and ref.uid in (None, live["metadata"]["uid"])
        if found:
            del self._memory.objects[(ref.kind, ref.namespace, ref.name)]
        return found

    async def create(self, manifest: Manifest) -> tuple[dict[str, Any], bool]:
        metadata = manifest["metadata"]
        live = self._memory.get(manifest["kind"], metadata["namespace"], metadata["name"])
        return (live, False) if live is not None else (await self.apply(manifest), True)

    def tell(self, obj: Manifest, event: Event) -> None:
        self._wire.step()
        self._memory.events.append((obj["metadata"]["name"], event.reason))


def merged(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def artefact(order: WorkOrder, name: str, late: bool = False) -> bytes:
    """What a server renders: tells the attempt, and whether it was written after the server should have been dead."""
    return json.dumps([order.uid, order.attempt, name, order.seed, late]).encode()


@dataclass
class LoopbackServer:
    """A server by the wire contract: one denoising step per question, artefacts into the folder store."""

    address: str
    port: int
    total_steps: int = 2
    orders: dict[str, OrderState] = field(default_factory=dict)
    given: list[WorkOrder] = field(default_factory=list)
    alive: asyncio.Event = field(default_factory=asyncio.Event)
    on_order: Callable[[LoopbackServer, WorkOrder], None] | None = None
    fails_with: tuple[str, bool] | None = None
    dies: bool = False
    """Its pod is removed in the next round."""
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        self.alive.set()
        app = web.Application(middlewares=[self._frozen])
        app.router.add_post("/v1/orders", self._submit)
        app.router.add_get("/v1/orders/{uid}", self._state)
        app.router.add_delete("/v1/orders/{uid}", self._cancel)
        app.router.add_get("/v1/server", self._server)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, self.port).start()

    async def stop(self) -> None:
        self.alive.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def in_hand(self) -> str | None:
        return next((uid for uid, s in self.orders.items() if s.phase in ("loading", "denoising")), None)

    def wake_late(self) -> None:
        """What a stopped process does when it goes on: it finishes all it had, by the addresses it was given."""
        for order in self.given:
            write_artefacts(order, late=True)
        self.alive.set()

    @web.middleware
    async def _frozen(self, request: web.Request, handler: Any) -> web.StreamResponse:
        await self.alive.wait()
        return await handler(request)

    async def _submit(self, request: web.Request) -> web.Response:
        order = WorkOrder.model_validate_json(await request.read())
        known = self.orders.get(order.uid)
        if known is not None and order.attempt == known.attempt:
            return web.json_response(known.to_wire(), status=202)
        if known is not None and order.attempt < known.attempt:
            return web.json_response({"error": "a later attempt came already"}, status=409)
        if self.in_hand not in (None, order.uid):
            return web.json_response({"error": "busy with another order"}, status=429)
        if not order.prompt.isprintable():
            return web.json_response({"error": "the prompt cannot be printed; write another"}, status=400)
        self.given.append(order)
        self.orders[order.uid] = OrderState(
            uid=order.uid, attempt=order.attempt, phase="denoising", total_steps=self.total_steps
        )
        if self.on_order is not None:
            self.on_order(self, order)
        return web.json_response(self.orders[order.uid].to_wire(), status=202)

    async def _state(self, request: web.Request) -> web.Response:
        state = self.orders.get(request.match_info["uid"])
        if state is None:
            return web.json_response({"error": "no such order"}, status=404)
        if state.phase == "denoising":
            state = self._advance(state)
        return web.json_response(state.to_wire())

    def _advance(self, state: OrderState) -> OrderState:
        order = next(o for o in reversed(self.given) if o.uid == state.uid)
        if self.fails_with is not None:
            message, retriable = self.fails_with
            state = state.model_copy(update={"phase": "failed", "error": message, "retriable": retriable})
        elif state.step < self.total_steps:
            state = state.model_copy(update={"step": state.step + 1})
        else:
            state = state.model_copy(update={"phase": "succeeded", "result": write_artefacts(order)})
        self.orders[state.uid] = state
        return state

    async def _cancel(self, request: web.Request) -> web.Response:
        uid = request.match_info["uid"]
        if uid in self.orders:
            self.orders[uid] = self.orders[uid].model_copy(update={"phase": "cancelled"})
        return web.json_response({}, status=202)

    async def _server(self, _request: web.Request) -> web.Response:
        return web.json_response(ServerState(order=self.in_hand).to_wire())


def write_artefacts(order: WorkOrder, late: bool = False) -> OrderResult:
    files = []
    for upload in order.uploads:
        data = artefact(order, upload.name, late)
        path = Path(url2pathname(urlsplit(upload.url).path))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        files.append(UploadedFile(name=upload.name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)))
    return OrderResult(
        files=tuple(files), seconds=1, size="24x24", fps=8, load_seconds=0, denoise_seconds=1, encode_seconds=0
    )


class FolderStores:
    """One folder for all."""

    def __init__(self, store: FolderStore) -> None:
        self._store = store
        self.reachable = True

    async def for_object(self, namespace: str, artifact_store: object) -> FolderStore:
        if not self.reachable:
            raise StorageUnreachable("the store does not answer; it is tried again")
        return self._store

    async def checked(self, namespace: str, artifact_store: object) -> FolderStore:
        store = await self.for_object(namespace, artifact_store)
        store.check()
        return store


class TrippingGenerations(GenerationController):
    """The controller, with a step before each effect."""

    wire: Tripwire
    held: list[tuple[Key, Manifest, Effect]]

    async def perform(self, key: Key, obj: Manifest, effect: Effect) -> None:
        self.held.append((key, obj, effect))
        self.wire.step()
        await super().perform(key, obj, effect)


class Operator:
    """One life of the operator: its memory goes with it."""

    def __init__(self, world: World, at: int | None = None) -> None:
        self.wire = Tripwire(at)
        client: Any = ApiWrites(world.api, self.wire)
        stores: Any = world.stores
        self.generations = TrippingGenerations(world.settings, client, stores, world.port)
        self.generations.wire = self.wire
        self.generations.held = []
        self._models = ModelController(world.settings, client, stores)
        queue: WorkQueue[Key] = WorkQueue(0.1, 1.0, lambda: 0.0)
        cache: Any = world.api
        self._reconciler = Reconciler(
            [self._models, self.generations],
            cache,
            client,
            client,
            queue,
            0.0,
            now=lambda: world.now,
            clock=lambda: world.now.timestamp(),
        )
        self._world = world

    async def look_around(self) -> None:
        """One look at every resource, as after any change."""
        for kind in (serving.KIND, generation.KIND):
            for obj in list(self._world.api.list(kind, NAMESPACE)):
                try:
                    await self._reconciler.reconcile(Key(kind, NAMESPACE, obj["metadata"]["name"]))
                except (KinemaApiError, Conflict):
                    continue


class World:
    """Everything outside the operator."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.api = ApiMemory()
        self.settings = Settings(
            store_endpoint=folder.as_uri(),
            pod_timeout_seconds=0.1,
            server_silent_seconds=4,
            progress_interval_seconds=0,
        )
        self.store = FolderStore(StoreLocation(endpoint=folder.as_uri(), bucket="kinema"))
        self.stores = FolderStores(self.store)
        (folder / "kinema").mkdir()
        self.servers: dict[str, LoopbackServer] = {}
        self.all_servers: list[LoopbackServer] = []
        self.prepare: Callable[[LoopbackServer], None] = lambda _server: None
        self.digest = self._publish()
        self._operators: list[Operator] = []

    def _publish(self) -> str:
        sha = hashlib.sha256(WEIGHTS).hexdigest()
        manifest = ModelManifest(
            kind="model",
            files=(ManifestFile(name="model.safetensors", sha256=sha, bytes=len(WEIGHTS)),),
            run=1,
            attempt=1,
            round=1,
            step=1,
            world_size=1,
            samples=1,
            created=self.now,
        )
        prefix = layout.model_prefix(manifest.digest())
        self.store.put(prefix + "model.safetensors", WEIGHTS)
        self.store.put(prefix + layout.MANIFEST, manifest.to_bytes())
        return manifest.digest()

    def operator(self, at: int | None = None) -> Operator:
        self._operators.append(Operator(self, at))
        return self._operators[-1]

    def apply_model(self, **serving_spec: Any) -> None:
        self._create(serving.KIND, MODEL, {"source": {"digest": self.digest}, "serving": serving_spec})

    def ask(self, name: str, **spec: Any) -> None:
        self._create(generation.KIND, name, {"modelRef": {"name": MODEL}, "prompt": "a red square", **spec})

    def _create(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        created = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = {"name": name, "namespace": NAMESPACE, "uid": f"uid-{name}", "creationTimestamp": created}
        self.api.put({"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})

    def generation(self, name: str) -> generation.VideoGeneration:
        found = self.api.get(generation.KIND, NAMESPACE, name)
        assert found is not None
        return generation.VideoGeneration.parse(found)

    def edit(self, kind: str, name: str, **spec: Any) -> None:
        obj = self.api.get(kind, NAMESPACE, name)
        assert obj is not None
        self.api.put({**obj, "spec": {**obj["spec"], **spec}})

    async def nodes(self) -> None:
        """What the Deployment controller and the kubelets do."""
        for name in [name for name, server in self.servers.items() if server.dies]:
            await self.kill(name)
        for deployment in list(self.api.list("Deployment", NAMESPACE)):
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            pods = list(self.api.list("Pod", NAMESPACE, deployment["spec"]["selector"]["matchLabels"]))
            for _ in range(len(pods), deployment["spec"]["replicas"]):
                await self._start_pod(labels)
            for pod in pods[deployment["spec"]["replicas"] :]:
                await self.kill(pod["metadata"]["name"])

    async def _start_pod(self, labels: dict[str, str]) -> None:
        host = next(_hosts)
        address = f"127.1.{host // 250}.{host % 250 + 1}"
        server = LoopbackServer(address, self.port)
        self.prepare(server)
        await server.start()
        name = f"server-{host:06d}"
        self.servers[name] = server
        self.all_servers.append(server)
        ready = {"podIP": address, "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
        self.api.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": ready})

    async def kill(self, pod: str) -> None:
        """The pod is gone, with its process."""
        self.api.objects.pop(("Pod", NAMESPACE, pod), None)
        await self.servers.pop(pod).stop()

    def server_of(self, name: str) -> LoopbackServer | None:
        """The server that has an order of this generation."""
        uid = self.generation(name).metadata.uid
        return next((s for s in self.all_servers if uid in s.orders), None)

    async def run(self, operator: Operator, until: Callable[[], bool], rounds: int = 80) -> Operator:
        """Rounds of two seconds until `until`; a killed operator is followed by a fresh one."""
        for _ in range(rounds):
            self.now += timedelta(seconds=2)
            await self.nodes()
            try:
                await operator.look_around()
            except Killed:
                operator = self.operator()
            if until():
                return operator
        phases = {g["metadata"]["name"]: g.get("status") for g in self.api.list(generation.KIND, NAMESPACE)}
        pytest.fail(f"not there after {rounds} rounds: {json.dumps(phases, indent=1)}")

    def all_ended(self) -> bool:
        ended = ("Succeeded", "Failed", "Cancelled")
        found = list(self.api.list(generation.KIND, NAMESPACE))
        return all((g.get("status") or {}).get("phase") in ended for g in found)

    async def close(self) -> None:
        for operator in self._operators:
            await operator.generations.close()
        for server in self.all_servers:
            await server.stop()


@pytest.fixture
async def new_world(tmp_path: Path) -> AsyncIterator[Callable[[], World]]:
    """Makes worlds, each with a folder of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    worlds: list[World] = []

    def make() -> World:
        folder = tmp_path / f"world-{len(worlds)}"
        folder.mkdir()
        worlds.append(World(folder, port))
        return worlds[-1]

    yield make
    for world in worlds:
        await world.close()
