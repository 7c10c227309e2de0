"""Recorded clips are prepared on a real API server and a real MinIO; the test does what the pods would do."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from integration.one_training import (
    BUCKET,
    NAME,
    Agent,
    condition,
    config_of,
    edit,
    job_of,
    operator,
    operator_settings,
    pods_store,
    reaches,
    status,
    training,
)
from integration.server import Server, until
from kinema_api import layout, names
from kinema_api.errors import StorageDenied
from kinema_api.prepare import PrepareConfig, PreparedDataset, PrepareResult
from kinema_operator.core.plan import Ref
from kinema_operator.core.resources import ref_to
from kinema_operator.core.settings import Settings
from kinema_operator.shell.client import Client

pytestmark = pytest.mark.apiserver

ENDPOINT = {"url": "http://captioner.models.svc:8000/v1", "model": "m", "secretRef": {"name": "captioner"}}
PREPARATION = names.preparation_name(NAME, 1)


@pytest.fixture
def settings(minio_endpoint: str, tmp_path: Path) -> Settings:
    return operator_settings(
        minio_endpoint,
        tmp_path,
        progress_interval_seconds=0.2,
        store_probe_seconds=0.5,
        allowed_caption_endpoints=("http://*.models.svc:8000",),
    )


def on_clips(namespace: str) -> dict[str, Any]:
    clips = {"uri": f"s3://{BUCKET}/inputs/{namespace}/clips/", "captions": {"endpoint": ENDPOINT}}
    return training(namespace, data={"videos": [clips]})


def secret(namespace: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "captioner", "namespace": namespace, "labels": labels},
        "data": {"apiKey": base64.b64encode(b"secret-key").decode()},
    }


async def says(client: Client, namespace: str, type_: str, reason: str) -> dict[str, Any]:
    async def there() -> dict[str, Any] | None:
        found = condition(await status(client, namespace), type_)
        return found if found.get("reason") == reason else None

    found: dict[str, Any] = await until(there, f"{type_} with the reason {reason}")
    return found


async def preparation(client: Client, namespace: str, nodes: int = 2) -> dict[str, Any]:
    async def there() -> dict[str, Any] | None:
        job = await client.get("Job", namespace, PREPARATION)
        ready = job and not job["metadata"].get("deletionTimestamp") and job["spec"]["parallelism"] == nodes
        return job if ready else None

    job: dict[str, Any] = await until(there, f"a Job of {nodes} that prepares clips")
    return job


async def gone(client: Client, kind: str, namespace: str, name: str) -> None:
    async def missing() -> bool:
        return await client.get(kind, namespace, name) is None

    await until(missing, f"{kind} {name} gone")


async def test_clips_are_prepared_with_rights_of_their_own_before_the_first_attempt(
    server: Server, client: Client, namespace: str, settings: Settings, agent: Agent
) -> None:
    async with operator(server, namespace, settings, agent):
        await client.post(on_clips(namespace))
        await says(client, namespace, "Running", "SecretMissing")
        made = await client.post(secret(namespace))
        told = await says(client, namespace, "Running", "SecretNotMarked")
        assert f"kubectl label secret captioner -n {namespace} {names.LABEL_API_KEY}=true" in told["message"]
        assert await client.get("Job", namespace, PREPARATION) is None
        await client.patch(ref_to(made), {"metadata": {"labels": {names.LABEL_API_KEY: "true"}}}, None)

        job = await preparation(client, namespace)
        assert (await status(client, namespace))["phase"] == "Preparing"
        keys = await client.get("Secret", namespace, names.preparation_secret_name(NAME))
        assert keys is not None
        assert base64.b64decode(keys["data"][names.STORAGE_CAPTIONER_KEY]) == b"secret-key"
        policy: dict[str, Any] = await until(
            lambda: client.get("NetworkPolicy", namespace, PREPARATION), "a policy for the endpoint"
        )
        assert policy["spec"]["egress"][0]["ports"] == [{"protocol": "TCP", "port": 8000}]
        shared = await client.get("NetworkPolicy", namespace, names.TRAININGS_POLICY)
        assert "models" not in str(shared)

        await edit(client, namespace, nodes=3)
        await preparation(client, namespace, 3)
        await edit(client, namespace, suspend=True)
        await gone(client, "Job", namespace, PREPARATION)
        await reaches(client, namespace, "Suspended")
        await edit(client, namespace, suspend=False)
        job = await preparation(client, namespace, 3)

        args = job["spec"]["template"]["spec"]["containers"][0]["args"]
        config = PrepareConfig.model_validate_json(args[args.index("--config") + 1])
        store = await pods_store(client, namespace, settings, names.preparation_secret_name(NAME))
        prefix = f"{config.datasets}{'a' * 32}/{'b' * 16}/"
        store.put(f"{prefix}dataset.json", b"{}")
        with pytest.raises(StorageDenied):
            store.put("inputs/" + namespace + "/clips/a.mp4", b"1")
        dataset = PreparedDataset(
            uri=config.videos[0].uri,
            prefix=prefix,
            digest="sha256:" + "d" * 64,
            samples=7,
            inputs=2,
            seconds=9,
            bytes=1,
        )
        result = PrepareResult(datasets=(dataset,), report=layout.PREPARED_PAGE)
        store.put(config.result, result.model_dump_json(by_alias=True).encode())

        trainers = config_of(await job_of(client, namespace, 1))
        assert [(made.prefix, made.digest) for made in trainers.datasets] == [(prefix, dataset.digest)]
        await gone(client, "Job", namespace, PREPARATION)
        await gone(client, "NetworkPolicy", namespace, PREPARATION)
        found = await status(client, namespace)
        assert condition(found, "Prepared")["status"] == "True"
        assert (found["dataset"]["samples"], found["attempt"]) == (7, 1)
        pod = await pods_store(client, namespace, settings)
        assert pod.get(f"{prefix}dataset.json") == b"{}"
        with pytest.raises(StorageDenied):
            pod.put(f"{prefix}dataset.json", b"spoilt")
        trainers_keys = await client.get("Secret", namespace, names.storage_secret_name(NAME))
        assert trainers_keys is not None
        assert names.STORAGE_CAPTIONER_KEY not in trainers_keys["data"]
    assert not [write for write in server.writes(namespace) if write.endswith((" 403", " 422"))]


async def test_a_result_that_a_pod_made_up_ends_the_run(
    server: Server, client: Client, namespace: str, settings: Settings, agent: Agent
) -> None:
    async with operator(server, namespace, settings, agent):
        made = training(namespace, data={"videos": [{"uri": f"s3://{BUCKET}/inputs/{namespace}/clips/"}]})
        await client.post(made)
        await preparation(client, namespace)
        store = await pods_store(client, namespace, settings, names.preparation_secret_name(NAME))
        uid = (await client.get("VideoModelTraining", namespace, NAME) or {})["metadata"]["uid"]
        key = layout.run_prefix(namespace, NAME, uid, 1) + layout.PREPARED
        theirs = {"uri": made["spec"]["data"]["videos"][0]["uri"], "prefix": "datasets/others/aaaaaaaa/bbbbbbbb/"}
        counts = {"digest": "sha256:" + "d" * 64, "samples": 1, "inputs": 1, "seconds": 1, "bytes": 1}
        dataset = PreparedDataset.model_validate(theirs | counts)
        store.put(key, PrepareResult(datasets=(dataset,), report="x").model_dump_json(by_alias=True).encode())
        found = await reaches(client, namespace, "Failed")
        assert f"a dataset that is not below datasets/{namespace}/" in condition(found, "Prepared")["message"]
        await client.delete(Ref("batch/v1", "Job", namespace, PREPARATION, ""))
