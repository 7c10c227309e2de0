"""Trainings on a real API server and a real MinIO; the test does what Job controller, kubelet and trainers would do.

Namespaces enforce the restricted Pod Security Standard, so every pod made here has passed its admission.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from minio import Minio

from integration.one_training import (
    BUCKET,
    KEYS,
    NAME,
    Agent,
    condition,
    config_of,
    edit,
    job_of,
    operator,
    operator_settings,
    pods_store,
    publisher_does_its_work,
    reaches,
    report,
    set_pod,
    start_pod,
    status,
    training,
    write,
)
from integration.server import Server, until
from kinema_api import layout, names
from kinema_api.errors import StorageDenied
from kinema_api.objectstore import StoreLocation
from kinema_api.objectstores import open_store
from kinema_api.wire import TerminationMessage, TrainerProgress
from kinema_operator.core.plan import Ref
from kinema_operator.core.resources import ref_to
from kinema_operator.core.settings import Settings
from kinema_operator.shell.client import Client
from kinema_operator.shell.connection import Connection

pytestmark = pytest.mark.apiserver


@pytest.fixture
def settings(minio_endpoint: str, tmp_path: Path) -> Settings:
    return operator_settings(minio_endpoint, tmp_path, progress_interval_seconds=0.2, store_probe_seconds=0.5)


@pytest_asyncio.fixture
async def home(client: Client, connection: Connection, namespace: str) -> str:
    """The test's namespace, made restricted."""
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    url = f"{connection.server}/api/v1/namespaces/{namespace}"
    headers = {**await connection.headers(), "Content-Type": "application/merge-patch+json"}
    async with connection.session() as http, http.patch(url, json=labels, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
    return namespace


async def test_a_training_from_apply_to_its_model(
    server: Server, client: Client, home: str, settings: Settings, agent: Agent
) -> None:
    async with operator(server, home, settings, agent):
        await client.post(training(home))
        job = await job_of(client, home, 1)
        for kind, name in (
            ("NetworkPolicy", names.TRAININGS_POLICY),
            ("Service", names.RENDEZVOUS_SERVICE),
            ("Pod", "tiny-world-r1-a1-store"),
        ):
            # All are sent at once: one may be there before another.
            await until(lambda kind=kind, name=name: client.get(kind, home, name), f"{kind} {name}")
        await start_pod(client, home, job, 0)
        await start_pod(client, home, job, 1)
        agent.progress = TrainerProgress(
            run=1, attempt=1, round=1, rank=0, world_size=2, step=7, total_steps=20, loss=0.5, step_seconds=1.0
        )
        await reaches(client, home, "Training")

        async def seven_steps() -> bool:
            found = await status(client, home)
            return bool(found.get("progress", {}).get("step") == 7 and found["nodes"] == {"desired": 2, "ready": 2})

        await until(seven_steps, "progress in the status")

        config = config_of(job)
        store = await pods_store(client, home, settings)
        digest = write(store, layout.export_prefix(config.prefix), "model", 1, 20, b"weights")
        agent.progress = agent.progress.model_copy(update={"step": 20, "exported": True})
        await reaches(client, home, "Publishing")
        keys = await publisher_does_its_work(client, home, settings, digest)
        with pytest.raises(StorageDenied):
            keys.put(config.prefix + "head.json", b"{}")
        with pytest.raises(StorageDenied):
            keys.put(layout.model_prefix("sha256:" + "0" * 64) + "config.json", b"{}")
        found = await reaches(client, home, "Succeeded")
        assert found["published"]["digest"] == digest
        assert condition(found, "Succeeded")["status"] == "True"
        model = await client.get("VideoModel", home, NAME)
        assert model is not None
        assert model["spec"]["source"] == {"training": NAME}
        operators_store = open_store(StoreLocation(endpoint=settings.store_endpoint, bucket=BUCKET), KEYS)
        assert operators_store.get(layout.model_prefix(digest) + "model.safetensors") == b"weights"

    before = server.writes(home)
    assert not [write for write in before if write.endswith((" 403", " 422"))]
    async with operator(server, home, settings, agent):
        await until(lambda: looked_at(settings), "looked at again")
    assert server.writes(home) == before, "a restart writes nothing"


@pytest.mark.parametrize(("colour", "phase"), [(0.95, "Succeeded"), (0.85, "Failed")])
async def test_a_model_is_measured_before_it_is_published(
    server: Server, client: Client, home: str, settings: Settings, agent: Agent, colour: float, phase: str
) -> None:
    measuring = names.evaluation_job_name(NAME, 1, 1)
    async with operator(server, home, settings, agent):
        await client.post(training(home, evaluation={"gate": {"colour": 0.9}}))
        prefix = config_of(await job_of(client, home, 1)).prefix
        store = await pods_store(client, home, settings)
        digest = write(store, layout.export_prefix(prefix), "model", 1, 20, colour.hex().encode())
        await start_pod(client, home, await job_of(client, home, 1), 0)
        agent.progress = TrainerProgress(
            run=1, attempt=1, round=1, rank=0, world_size=1, step=20, total_steps=20, exported=True
        )
        await reaches(client, home, "Evaluating")
        await until(lambda: client.get("Job", home, measuring), "a Job that measures")
    before = server.writes(home)
    async with operator(server, home, settings, agent):
        await until(lambda: looked_at(settings), "looked at again")
        assert server.writes(home) == before, "a restart writes nothing"
        pod = await start_pod(client, home, await client.get("Job", home, measuring) or {}, 0)
        report(store, layout.evaluation_prefix(prefix), digest, colour)
        await set_pod(client, pod, "Succeeded", {"running": None, "terminated": {"exitCode": 0}})
        if phase == "Succeeded":
            await publisher_does_its_work(client, home, settings, digest)
        found = await reaches(client, home, phase)
        assert found["evaluation"]["accuracy"] == {"colour": colour}
        assert found["evaluation"]["passed"] is (phase == "Succeeded")
        operators_store = open_store(StoreLocation(endpoint=settings.store_endpoint, bucket=BUCKET), KEYS)
        published = operators_store.stat(layout.model_prefix(digest) + layout.MANIFEST)
        assert (published is not None) is (phase == "Succeeded")
        if phase == "Failed":
            assert condition(found, "Failed")["reason"] == "GateNotMet"
            assert "colour is 0.85, below the gate of 0.9" in condition(found, "Failed")["message"]
    assert not [write for write in server.writes(home) if write.endswith((" 403", " 422"))]


async def looked_at(settings: Settings) -> bool:
    async with aiohttp.request("GET", f"http://127.0.0.1:{settings.metrics_port}/metrics") as answer:
        return 'kinema_operator_reconciles_total{kind="VideoModelTraining",result="ok"}' in await answer.text()


async def test_a_resize_moves_parallelism_and_completions_together(
    server: Server, client: Client, home: str, settings: Settings, agent: Agent
) -> None:
    async with operator(server, home, settings, agent):
        await client.post(training(home))
        await job_of(client, home, 1)
        for nodes in (3, 1):
            await edit(client, home, nodes=nodes)

            async def resized(nodes: int = nodes) -> bool:
                spec = (await job_of(client, home, 1))["spec"]
                return bool(spec["parallelism"] == spec["completions"] == nodes)

            await until(resized, f"{nodes} nodes")


async def test_a_failed_attempt_is_followed_by_one_that_resumes(
    server: Server, client: Client, home: str, settings: Settings, agent: Agent
) -> None:
    quick = settings.model_copy(update={"retry_backoff_seconds": 0.0})
    async with operator(server, home, quick, agent):
        await client.post(training(home))
        job = await job_of(client, home, 1)
        pod = await start_pod(client, home, job, 0)
        await reaches(client, home, "Training")
        store = await pods_store(client, home, settings)
        checkpoint = layout.checkpoint_prefix(config_of(job).prefix, 10, 1)
        write(store, checkpoint, "checkpoint", 1, 10, b"state")
        await end_pod(client, pod, 41, TerminationMessage(failure_class="numerics", message="loss is NaN at step 12"))

        async def old_job_gone() -> bool:
            return await client.get("Job", home, names.job_name(NAME, 1, 1)) is None

        await until(old_job_gone, "the old Job gone")
        second = await job_of(client, home, 2)
        assert config_of(second).resume_from == checkpoint
        found = await status(client, home)
        assert (found["attempt"], found["restarts"]) == (2, {"numerics": 1})


async def end_pod(client: Client, pod: dict[str, Any], code: int, word: TerminationMessage) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ended = {
        "exitCode": code,
        "reason": "Error",
        "message": word.model_dump_json(by_alias=True),
        "startedAt": now,
        "finishedAt": now,
    }
    fresh = await client.get("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"]) or pod
    await set_pod(client, fresh, "Failed", {"running": None, "terminated": ended})


async def test_a_user_error_is_told_in_the_trainers_words(
    server: Server, client: Client, home: str, settings: Settings, agent: Agent
) -> None:
    async with operator(server, home, settings, agent):
        await client.post(training(home))
        pod = await start_pod(client, home, await job_of(client, home, 1), 0)
        await reaches(client, home, "Training")
        said = "model.overrides.width 65 is not a multiple of heads 4"
        await end_pod(client, pod, 2, TerminationMessage(failure_class="user_error", message=said))
        found = await reaches(client, home, "Failed")
        assert said in condition(found, "Failed")["message"]
        assert condition(found, "Failed")["reason"] == "UserError"


async def test_a_missing_bucket_and_a_missing_secret_are_waited_for(
    server: Server, client: Client, home: str, settings: Settings, agent: Agent
) -> None:
    bucket = f"later-{uuid.uuid4().hex[:8]}"
    store = {
        "endpoint": settings.store_endpoint,
        "bucket": bucket,
        "secretRef": {"name": "keys"},
    }

    async def reason() -> str:
        return str(condition(await status(client, home), "Running").get("reason"))

    async with operator(server, home, settings, agent):
        await client.post(training(home, artifactStore=store))
        await until(lambda: _is(reason, "SecretMissing"), "SecretMissing")
        secret = {"accessKey": KEYS.access_key, "secretKey": KEYS.secret_key}
        await client.post(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "keys", "namespace": home, "labels": {"kinema.dev/store-keys": "true"}},
                "stringData": secret,
            }
        )
        await until(lambda: _is(reason, "BucketMissing"), "BucketMissing")
        assert await client.get("Job", home, names.job_name(NAME, 1, 1)) is None
        Minio(
            endpoint=settings.store_endpoint.removeprefix("http://"),
            access_key=KEYS.access_key,
            secret_key=KEYS.secret_key,
            secure=False,
        ).make_bucket(bucket_name=bucket)
        await job_of(client, home, 1)


async def _is(ask: Any, wanted: str) -> bool:
    return bool(await ask() == wanted)


async def test_suspending_removes_the_job_and_going_on_is_another_attempt(
    server: Server, client: Client, home: str, settings: Settings, agent: Agent
) -> None:
    async with operator(server, home, settings, agent):
        await client.post(training(home))
        await job_of(client, home, 1)
        for suspend, attempt in ((True, 1), (False, 2)):
            await edit(client, home, suspend=suspend)
            if suspend:
                found = await reaches(client, home, "Suspended")
                assert condition(found, "Suspended")["status"] == "True"
                await until(lambda: _none(client, "Job", home, names.job_name(NAME, 1, 1)), "no Job")
                leaving = Ref("v1", "Pod", home, names.store_name(NAME, 1, 1))
                await client.delete(leaving, grace_seconds=0)
            else:
                job = await job_of(client, home, attempt)
                assert config_of(job).attempt == attempt


async def test_a_suspended_training_has_let_its_trainers_commit(
    server: Server, client: Client, home: str, settings: Settings, agent: Agent
) -> None:
    async with operator(server, home, settings, agent):
        await client.post(training(home))
        job = await job_of(client, home, 1)
        pod = await start_pod(client, home, job, 0)
        await reaches(client, home, "Training")
        await edit(client, home, suspend=True)
        await until(lambda: _none(client, "Job", home, names.job_name(NAME, 1, 1)), "no Job, so SIGTERM for its pods")

        async def stopping() -> bool:
            return condition(await status(client, home), "Suspended").get("reason") == "Suspending"

        await until(stopping, "that the trainers are asked to stop is told")
        rendezvous = await client.get("Pod", home, names.store_name(NAME, 1, 1))
        assert rendezvous is not None
        assert "deletionTimestamp" not in rendezvous["metadata"], "without it nobody could commit"
        store = await pods_store(client, home, settings)
        checkpoint = layout.checkpoint_prefix(config_of(job).prefix, 7, 1)
        digest = write(store, checkpoint, "checkpoint", 1, 7, b"state")
        await client.delete(ref_to(pod), grace_seconds=0)
        found = await reaches(client, home, "Suspended")
        assert "checkpoint of step 7" in condition(found, "Suspended")["message"]
        assert (found["lastCheckpoint"]["step"], found["lastCheckpoint"]["digest"]) == (7, digest)

        async def rendezvous_leaves() -> bool:
            left = await client.get("Pod", home, names.store_name(NAME, 1, 1))
            return left is None or "deletionTimestamp" in left["metadata"]

        await until(rendezvous_leaves, "the rendezvous goes last")


async def test_a_deleted_training_takes_its_artefacts_with_it_where_that_is_asked_for(
    server: Server, client: Client, home: str, settings: Settings, agent: Agent
) -> None:
    async with operator(server, home, settings, agent):
        await client.post(training(home, deletionPolicy="Delete"))
        job = await job_of(client, home, 1)
        store = await pods_store(client, home, settings)
        write(store, layout.checkpoint_prefix(config_of(job).prefix, 7, 1), "checkpoint", 1, 7, b"state")

        async def guarded() -> bool:
            made = await client.get("VideoModelTraining", home, NAME) or {}
            return names.FINALIZER in made["metadata"].get("finalizers", ())

        await until(guarded, "the finalizer")
        made = await client.get("VideoModelTraining", home, NAME) or {}
        await client.delete(ref_to(made))
        await until(lambda: _none(client, "VideoModelTraining", home, NAME), "the training gone")
        operators_store = open_store(StoreLocation(endpoint=settings.store_endpoint, bucket=BUCKET), KEYS)
        prefix = layout.training_prefix(home, NAME, made["metadata"]["uid"])
        assert list(operators_store.list(prefix)) == []


async def _none(client: Client, kind: str, namespace: str, name: str) -> bool:
    return await client.get(kind, namespace, name) is None
