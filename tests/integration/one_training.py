"""One training on a real API server and MinIO: its operator, what stands in for trainers, and readings of both."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from cluster.ports import free_ports
from integration.server import Server, until
from integration.suite_store import KEYS, bucket
from kinema_api import layout, names
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import ObjectStore, StoreCredentials, StoreLocation
from kinema_api.objectstores import open_store
from kinema_api.run import PublicationConfig, RunConfig
from kinema_api.wire import EvaluationResult, TrainerProgress
from kinema_jobs.train.publication import publish
from kinema_jobs.train.storage import RetryPolicy
from kinema_operator.core.errors import Conflict
from kinema_operator.core.resources import ref_to
from kinema_operator.core.settings import Settings
from kinema_operator.shell.client import Client
from kinema_operator.shell.connection import Connection
from kinema_operator.shell.runtime import Runtime
from kinema_operator.shell.storage import Stores
from kinema_operator.training.controller import TrainingController

KIND = "VideoModelTraining"
NAME = "tiny-world"
BUCKET = "training-controller"
SPEC = {
    "model": {"preset": "tiny"},
    "data": {"world": {"seed": 7}},
    "optimization": {"steps": 20},
    "nodes": 2,
    "elastic": {"minNodes": 1, "maxNodes": 3},
    "checkpoint": {"everySteps": 10, "keep": 2},
    "publish": {"model": NAME},
}


class Agent:
    """/progress of every pod, on loopback."""

    def __init__(self) -> None:
        self.progress = TrainerProgress(run=1, attempt=1)
        self.port = 0

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/progress", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.2", 0).start()
        self.port = runner.addresses[0][1]
        return runner

    async def _answer(self, _: web.Request) -> web.Response:
        return web.Response(text=self.progress.model_dump_json(by_alias=True), content_type="application/json")


@asynccontextmanager
async def answering(agent: Agent) -> AsyncIterator[Agent]:
    """`agent` while it serves."""
    runner = await agent.start()
    yield agent
    await runner.cleanup()


def operator_settings(endpoint: str, folder: Path, **more: Any) -> Settings:
    """An operator with ports of its own whose store is the bucket BUCKET at `endpoint`; its keys lie in `folder`."""
    bucket(endpoint, BUCKET)
    keys = folder / "credentials.json"
    keys.write_text(KEYS.model_dump_json(by_alias=True))
    own: dict[str, Any] = {"store_endpoint": endpoint, "store_bucket": BUCKET, "store_credentials_file": keys}
    return Settings(**own, **ports(), **more)


def ports() -> dict[str, int]:
    """Free ports for everything that an operator listens on."""
    return dict(zip(("health_port", "metrics_port", "links_port"), free_ports(3), strict=True))


@asynccontextmanager
async def operator(server: Server, namespace: str, settings: Settings, agent: Agent) -> AsyncIterator[None]:
    """One replica with this controller alone."""
    own = settings.model_copy(update={"watch_namespace": namespace, "pod_namespace": namespace})
    connection = await Connection.load(server.kubeconfig, "kinema-operator")
    runtime = Runtime(own, connection, lambda s, c: [TrainingController(s, c, Stores(s, c), agent.port)])
    await runtime.start()
    try:
        yield
        assert runtime.failure is None
    finally:
        await runtime.stop()


def training(namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": names.API_VERSION,
        "kind": KIND,
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": SPEC | spec,
    }


async def edit(client: Client, namespace: str, **spec: Any) -> None:
    """Change the spec, whatever the operator writes meanwhile."""

    async def done() -> bool:
        made = await client.get(KIND, namespace, NAME) or {}
        try:
            await client.patch(ref_to(made), {"spec": spec}, made["metadata"]["resourceVersion"], manager="test")
        except Conflict:
            return False
        return True

    await until(done, f"spec changed to {spec}")


async def status(client: Client, namespace: str) -> dict[str, Any]:
    found = await client.get(KIND, namespace, NAME)
    assert found is not None
    seen: dict[str, Any] = found.get("status") or {}
    return seen


def condition(found: dict[str, Any], type_: str) -> dict[str, Any]:
    return next((c for c in found.get("conditions", ()) if c["type"] == type_), {})


async def reaches(client: Client, namespace: str, phase: str) -> dict[str, Any]:
    async def there() -> dict[str, Any] | None:
        found = await status(client, namespace)
        return found if found.get("phase") == phase else None

    found: dict[str, Any] = await until(there, f"phase {phase}")
    return found


async def job_of(client: Client, namespace: str, attempt: int) -> dict[str, Any]:
    name = names.job_name(NAME, 1, attempt)
    job: dict[str, Any] = await until(lambda: client.get("Job", namespace, name), f"Job {name}")
    return job


async def start_pod(client: Client, namespace: str, job: dict[str, Any], index: int) -> dict[str, Any]:
    """A pod of the Job, running, as Job controller and kubelet would leave it."""
    template = job["spec"]["template"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{job['metadata']['name']}-{index}-{uuid.uuid4().hex[:5]}",
            "namespace": namespace,
            "labels": template["metadata"]["labels"],
            "ownerReferences": [owner | {"controller": True}],
        },
        "spec": template["spec"],
    }
    made = await client.post(pod)
    running = {"running": {"startedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}}
    return await set_pod(client, made, "Running", running)


async def set_pod(client: Client, pod: dict[str, Any], phase: str, state: dict[str, Any]) -> dict[str, Any]:
    container = {"name": "trainer", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    body = {
        "phase": phase,
        "podIP": "127.0.0.2",
        "podIPs": [{"ip": "127.0.0.2"}],
        "containerStatuses": [container],
    }
    return await client.patch_status(ref_to(pod), body, pod["metadata"]["resourceVersion"])


async def publisher_does_its_work(client: Client, namespace: str, settings: Settings, digest: str) -> ObjectStore:
    """What the pod of a publication does, with the keys that it has; the bucket as these keys see it."""
    job: dict[str, Any] = await until(
        lambda: client.get("Job", namespace, names.publication_job_name(NAME, 1, 1)), "a Job that publishes"
    )
    args = job["spec"]["template"]["spec"]["containers"][0]["args"]
    config = PublicationConfig.model_validate_json(args[args.index("--config") + 1])
    store = await pods_store(client, namespace, settings, names.publication_secret_name(NAME))
    export = config.export
    assert config.model_digest == digest
    await asyncio.to_thread(publish, store, export, digest, RetryPolicy(10.0))
    pod = await start_pod(client, namespace, job, 0)
    await set_pod(client, pod, "Succeeded", {"running": None, "terminated": {"exitCode": 0}})
    return store


async def pods_store(client: Client, namespace: str, settings: Settings, name: str = "") -> ObjectStore:
    """The bucket as a trainer sees it: with the keys of its Secret, or of another one."""
    secret = await client.get("Secret", namespace, name or names.storage_secret_name(NAME))
    assert secret is not None
    raw = base64.b64decode(secret["data"][names.STORAGE_CREDENTIALS_KEY])
    keys = StoreCredentials.model_validate_json(raw)
    assert keys.session_token
    return open_store(StoreLocation(endpoint=settings.store_endpoint, bucket=BUCKET), keys)


def write(store: ObjectStore, prefix: str, kind: str, attempt: int, step: int, data: bytes) -> str:
    name = "model.safetensors" if kind == "model" else "__0_0.distcp"
    store.put(prefix + name, data)
    manifest = Manifest.model_validate(
        {
            "kind": kind,
            "files": [ManifestFile(name=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))],
            "run": 1,
            "attempt": attempt,
            "round": 1,
            "step": step,
            "worldSize": 2,
            "samples": 0,
            "created": datetime(2026, 3, 1, tzinfo=UTC),
        }
    )
    store.put(prefix + layout.MANIFEST, manifest.to_bytes())
    return manifest.digest()


def report(store: ObjectStore, prefix: str, digest: str, colour: float) -> None:
    """What an evaluator leaves of the model of that digest."""
    result = EvaluationResult(model_digest=digest, accuracy={"colour": colour}, seconds=1.5)
    data = result.model_dump_json(by_alias=True).encode()
    store.put(prefix + layout.EVALUATION_RESULT, data)
    file = ManifestFile(name=layout.EVALUATION_RESULT, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    manifest = Manifest(
        kind="evaluation", files=(file,), run=1, attempt=1, round=1, step=20, world_size=2, samples=0,
        created=datetime(2026, 3, 1, tzinfo=UTC),
    )  # fmt: skip
    store.put(prefix + layout.MANIFEST, manifest.to_bytes())


def config_of(job: dict[str, Any]) -> RunConfig:
    args = job["spec"]["template"]["spec"]["containers"][0]["args"]
    return RunConfig.model_validate_json(args[args.index("--config") + 1])
