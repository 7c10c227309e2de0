"""A clip by real processes: operator, servers, API server and MinIO; servers are killed and stopped on the way."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from integration.operators import KINEMA, replica
from integration.server import Server, until
from integration.server_pods import ServerPods, server_pods
from integration.suite_store import KEYS, bucket
from integration.untrained import publish
from kinema_api import generation, layout, names, serving
from kinema_api.objectstore import ObjectStore
from kinema_operator.shell.client import Client

pytestmark = pytest.mark.apiserver

BUCKET = "clips"
PATIENCE_SECONDS = 90.0
SETTINGS = {
    "store_bucket": BUCKET,
    "progress_interval_seconds": 0.2,
    "generation_poll_seconds": 0.2,
    "pod_timeout_seconds": 1,
    "server_silent_seconds": 4,
}


@pytest.fixture
def store(minio_endpoint: str) -> ObjectStore:
    return bucket(minio_endpoint, BUCKET)


@pytest.fixture
def digest(store: ObjectStore, tmp_path: Path) -> str:
    return publish(store, tmp_path / "export").digest()


class Studio:
    """One namespace with an operator, a model and its servers."""

    def __init__(self, client: Client, namespace: str, store: ObjectStore, pods: ServerPods) -> None:
        self.client = client
        self.namespace = namespace
        self.store = store
        self.pods = pods

    async def make(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        metadata = {"name": name, "namespace": self.namespace}
        await self.client.post({"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})

    async def ask(self, name: str, **spec: Any) -> None:
        prompt = "a red square moves right"
        await self.make(generation.KIND, name, {"modelRef": {"name": "tiny"}, "prompt": prompt, "seed": 1, **spec})

    async def clip(self, name: str) -> generation.VideoGeneration:
        return generation.VideoGeneration.parse(await self.client.get(generation.KIND, self.namespace, name))

    async def reaches(self, name: str, phase: str, attempt: int = 1) -> generation.VideoGeneration:
        async def there() -> Any:
            found = await self.clip(name)
            return found if found.status.phase == phase and found.status.attempt >= attempt else None

        found = await until(there, f"{name} {phase} in attempt {attempt}", PATIENCE_SECONDS)
        assert isinstance(found, generation.VideoGeneration)
        return found

    def bytes_of(self, clip: generation.VideoGeneration, name: str = layout.VIDEO) -> bytes:
        return self.store.get(layout.generation_prefix(self.namespace, clip.metadata.uid) + name)


@pytest_asyncio.fixture
async def studio(
    server: Server, client: Client, namespace: str, store: ObjectStore, digest: str, tmp_path: Path
) -> AsyncIterator[Studio]:
    keys = tmp_path / "credentials.json"
    keys.write_text(KEYS.model_dump_json(by_alias=True, exclude_none=True))
    settings = {**SETTINGS, "store_endpoint": store.location.endpoint, "store_credentials_file": keys}
    folder = tmp_path / "pods"
    folder.mkdir()
    async with server_pods(client, namespace, folder) as pods:
        with replica(server.kubeconfig, namespace, tmp_path / "operator.log", KINEMA, **settings):
            made = Studio(client, namespace, store, pods)
            spec = {"source": {"digest": digest}, "serving": {"idleSeconds": 3}}
            await made.make(serving.KIND, "tiny", spec)
            yield made


async def test_a_clip_from_zero_servers_and_back(studio: Studio) -> None:
    await studio.ask("red-square")
    clip = await studio.reaches("red-square", "Succeeded")
    status, data = clip.status, studio.bytes_of(clip)
    assert status.video is not None
    assert status.video.url is None
    assert status.video.sha256 == hashlib.sha256(data).hexdigest()
    assert data[4:8] == b"ftyp"
    assert status.thumbnail is not None
    assert status.spritesheet is not None
    assert (status.attempt, status.failures, status.seed) == (1, 0, 1)

    async def scaled_to_zero() -> bool:
        model = await studio.client.get(serving.KIND, studio.namespace, "tiny")
        pods, _ = await studio.client.list_all("Pod", studio.namespace)
        return bool(model and model["status"]["phase"] == "ScaledToZero" and not pods)

    await until(scaled_to_zero, "no server left")


async def test_a_server_lost_in_the_middle_costs_an_attempt_and_no_clip(studio: Studio) -> None:
    await studio.ask("red-square", steps=200)
    running = await studio.reaches("red-square", "Running")
    assert running.status.server_uid is not None
    await studio.pods.lose(running.status.server_uid)
    clip = await studio.reaches("red-square", "Succeeded", attempt=2)
    assert clip.status.video is not None
    assert clip.status.video.sha256 == hashlib.sha256(studio.bytes_of(clip)).hexdigest()


async def test_a_stopped_server_that_wakes_late_changes_no_byte(studio: Studio) -> None:
    await studio.ask("red-square", steps=200)
    running = await studio.reaches("red-square", "Running")
    assert running.status.server_uid is not None
    stopped = studio.pods.processes[running.status.server_uid]
    stopped.send_signal(signal.SIGSTOP)
    clip = await studio.reaches("red-square", "Succeeded", attempt=2)
    kept = {name: studio.bytes_of(clip, name) for name in (layout.VIDEO, layout.THUMBNAIL, layout.REQUEST)}
    stopped.send_signal(signal.SIGCONT)
    late = layout.generation_attempt_prefix(studio.namespace, clip.metadata.uid, 1) + layout.REQUEST

    async def has_written() -> bool:
        return await asyncio.to_thread(studio.store.stat, late) is not None

    await until(has_written, "the woken server has uploaded its clip", PATIENCE_SECONDS)
    assert {name: studio.bytes_of(clip, name) for name in kept} == kept
    assert (await studio.clip("red-square")).status == clip.status


async def test_what_the_model_cannot_do_is_refused_with_its_sentence(studio: Studio) -> None:
    await studio.ask("odd", size="25x25")
    clip = await studio.reaches("odd", "Failed")
    failed = next(c for c in clip.status.conditions if c.type == "Failed")
    assert clip.status.attempt == 1
    assert "25" in failed.message
