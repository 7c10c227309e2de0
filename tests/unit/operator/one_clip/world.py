"""Everything around the operator: the API server, servers on loopback, a folder as the store; and its lives."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kinema_api import generation, layout, names, serving
from kinema_api.errors import StorageUnreachable
from kinema_api.generation import VideoGeneration
from kinema_api.manifest import Manifest as ModelManifest
from kinema_api.manifest import ManifestFile
from kinema_api.objectstore import StoreLocation
from kinema_api.objectstores import FolderStore
from kinema_operator.core.plan import Effect, Key
from kinema_operator.core.settings import Settings
from kinema_operator.generation.controller import GenerationController
from kinema_operator.serving.controller import ModelController
from kinema_operator.shell.reconcile import Reconciler
from kinema_operator.shell.workqueue import WorkQueue
from unit.operator.one_clip.api_memory import ApiMemory, ApiWrites, Killed, Tripwire
from unit.operator.one_clip.loopback_server import LoopbackServer

NAMESPACE = "studio"
MODEL = "tiny"
WEIGHTS = b"weights"
_hosts = itertools.count(2)


class FolderStores:
    """One folder for all."""

    def __init__(self, store: FolderStore) -> None:
        self._store = store
        self.reachable = True

    async def for_object(self, namespace: str, artifact_store: object) -> FolderStore:
        if not self.reachable:
            raise StorageUnreachable("the store does not answer; the operation is retried")
        return self._store

    async def checked(self, namespace: str, artifact_store: object) -> FolderStore:
        store = await self.for_object(namespace, artifact_store)
        store.check()
        return store


class TrippingGenerations(GenerationController):
    """The controller, with a step before each effect."""

    wire: Tripwire
    held: list[tuple[Key, VideoGeneration, Effect]]

    async def perform(self, key: Key, resource: VideoGeneration, effect: Effect) -> None:
        self.held.append((key, resource, effect))
        self.wire.step()
        await super().perform(key, resource, effect)


class Operator:
    """One life of the operator: its memory goes with it."""

    def __init__(self, world: World, at: int | None = None) -> None:
        self.wire = Tripwire(at)
        self.errors: list[Exception] = []
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

    async def look_at(self, kind: str, name: str) -> None:
        """One look at one resource, which may be gone."""
        await self._reconciler.reconcile(Key(kind, NAMESPACE, name))

    async def look_around(self) -> None:
        """One look at every resource, as after any change."""
        for kind in (serving.KIND, generation.KIND):
            for obj in list(self._world.api.list(kind, NAMESPACE)):
                try:
                    await self._reconciler.reconcile(Key(kind, NAMESPACE, obj["metadata"]["name"]))
                except Exception as error:  # as in the real loop, which tries again
                    self.errors.append(error)


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
                await self._start_pod(deployment["metadata"]["name"], labels)
            for pod in pods[deployment["spec"]["replicas"] :]:
                await self.kill(pod["metadata"]["name"])

    async def _start_pod(self, deployment: str, labels: dict[str, str]) -> None:
        host = next(_hosts)
        address = f"127.1.{host // 250}.{host % 250 + 1}"
        server = LoopbackServer(address, self.port)
        self.prepare(server)
        await server.start()
        name = f"server-{host:06d}"
        self.servers[name] = server
        self.all_servers.append(server)
        ready = {"podIP": address, "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        replica_set = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{deployment}-7d9f", "uid": "rs"}
        owners = [{**replica_set, "controller": True}]
        metadata = {"name": name, "namespace": NAMESPACE, "labels": labels, "ownerReferences": owners}
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
