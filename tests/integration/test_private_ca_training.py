"""The authority of a training's store, from its spec to the Secret that its pods mount, and when it changes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.one_training import NAME, Agent, condition, edit, job_of, operator, ports, status, training
from integration.server import Server, until
from integration.tls_minio import KEYS, PrivateStore, private_minio
from kinema_api import names
from kinema_operator.core.settings import Settings
from kinema_operator.shell.client import Client
from kinema_operator.training import observe

pytestmark = pytest.mark.apiserver


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateStore]:
    with private_minio(tmp_path_factory.mktemp("private")) as store:
        store.make_bucket("kinema")
        yield store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        allowed_stores=("https://127.0.0.1:*",),
        **ports(),
        progress_interval_seconds=0.2,
        store_probe_seconds=0.5,
    )


async def mounted(client: Client, namespace: str) -> str | None:
    """The authorities in the Secret that trainers mount."""
    secret = await client.get("Secret", namespace, names.storage_secret_name(NAME))
    data = (secret or {}).get("data") or {}
    return base64.b64decode(data["ca.crt"]).decode() if "ca.crt" in data else None


async def test_the_authority_of_a_store_reaches_pods_and_may_change_while_they_run(
    server: Server,
    client: Client,
    namespace: str,
    settings: Settings,
    agent: Agent,
    private: PrivateStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(observe, "SECRET_RECHECK_SECONDS", 0.2)
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in _keys().items()}
    labels = {"kinema.dev/store-keys": "true"}
    metadata = {"name": "keys", "namespace": namespace, "labels": labels}
    await client.post({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded})
    store: dict[str, Any] = {"endpoint": private.endpoint, "bucket": "kinema", "secretRef": {"name": "keys"}}
    async with operator(server, namespace, settings, agent):
        await client.post(training(namespace, artifactStore={**store, "caBundle": private.stranger}))

        async def told() -> dict[str, Any] | None:
            found = condition(await status(client, namespace), "Running")
            return found if found.get("reason") == "StoreUnusable" else None

        found = await until(told, "a condition that tells of the certificate")
        assert "spec.artifactStore.caBundle" in found["message"]

        await edit(client, namespace, artifactStore={"caBundle": private.ca_bundle})
        job = await job_of(client, namespace, 1)
        assert await mounted(client, namespace) == private.ca_bundle
        (trainer,) = job["spec"]["template"]["spec"]["containers"]
        environment = {entry["name"]: entry.get("value") for entry in trainer["env"]}
        (storage,) = (m for m in trainer["volumeMounts"] if m["mountPath"] == names.STORAGE_SECRET_DIR)
        assert environment["KINEMA_STORE_CA_FILE"] == f"{storage['mountPath']}/ca.crt"
        assert "BEGIN CERTIFICATE" not in json.dumps(job)

        both = private.stranger + private.ca_bundle
        await edit(client, namespace, artifactStore={"caBundle": both})

        async def renewed() -> bool:
            return await mounted(client, namespace) == both

        await until(renewed, "the new authorities in the Secret")
        again = await job_of(client, namespace, 1)
        assert again["metadata"]["uid"] == job["metadata"]["uid"], "nothing was started anew"
        assert (await status(client, namespace))["run"] == 1


def _keys() -> dict[str, str]:
    return {"accessKey": KEYS.access_key, "secretKey": KEYS.secret_key}
