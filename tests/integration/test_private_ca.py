"""A store whose certificate comes from an authority of its own: the operator, a trainer and a server reach it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.tls_minio import KEYS, PrivateStore, private_minio
from integration.untrained import publish
from kinema_api import launch, layout
from kinema_api.base import ArtifactStore
from kinema_api.errors import StorageError
from kinema_api.objectstore import StoreLocation
from kinema_api.objectstores import open_store
from kinema_jobs.local.site import local_site
from kinema_operator.core.settings import Settings
from kinema_operator.shell.storage import Stores
from kinema_operator.training.scope import Scope
from stage.trainers import Trainers, tiny_training

pytestmark = pytest.mark.timeout(600)

BUCKET = "private"
LISTENS = re.compile(rb"on port (\d+), ready after")
ARTEFACTS = (layout.VIDEO, layout.THUMBNAIL, layout.SPRITESHEET, layout.REQUEST)


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateStore]:
    with private_minio(tmp_path_factory.mktemp("private")) as store:
        store.make_bucket(BUCKET)
        yield store


@pytest.fixture(autouse=True)
def _allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINEMA_ALLOWED_STORES", '["https://127.0.0.1:*"]')


class Secrets:
    """A namespace whose Secret `keys` holds the keys of the store."""

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        data = {"accessKey": KEYS.access_key, "secretKey": KEYS.secret_key}
        return {
            "metadata": {"labels": {"kinema.dev/store-keys": "true"}},
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
        }


def named(store: PrivateStore, ca_bundle: str | None) -> ArtifactStore:
    spec = {"endpoint": store.endpoint, "bucket": BUCKET, "secretRef": {"name": "keys"}, "caBundle": ca_bundle}
    return ArtifactStore.parse(spec)


async def problem_of(stores: Stores, spec: ArtifactStore | None) -> str | None:
    """What is wrong with a store by the operator's check, by STS and by a write; None: nothing."""
    try:
        store = await stores.checked("team", spec)
        assert (await stores.scoped_credentials(store, Scope(("trainings/team/a/u/",)), 900)).session_token
        store.put("trainings/team/a/u/a", b"1")
    except StorageError as error:
        return str(error)
    return None


async def test_the_operator_reaches_a_store_whose_authority_the_spec_names(private: PrivateStore) -> None:
    stores = Stores(Settings(), Secrets())
    assert await problem_of(stores, named(private, private.ca_bundle)) is None


async def test_the_operators_own_store_may_have_a_private_authority(
    private: PrivateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "credentials.json"
    keys.write_text(KEYS.model_dump_json(by_alias=True))
    monkeypatch.setenv("KINEMA_STORE_CA_BUNDLE", private.ca_bundle)
    settings = Settings(store_endpoint=private.endpoint, store_bucket=BUCKET, store_credentials_file=keys)
    assert await problem_of(Stores(settings, Secrets()), None) is None
    of_its_namespace = await problem_of(Stores(settings, Secrets()), named(private, None))
    assert of_its_namespace is None, "a bucket of one's own in the operator's store needs no caBundle beside it"


async def test_a_store_of_an_unknown_authority_says_that_its_ca_bundle_is_missing(private: PrivateStore) -> None:
    stores = Stores(Settings(), Secrets())
    for ca_bundle in (None, private.stranger):
        with pytest.raises(
            StorageError, match=r"authority that is not trusted \(TLS\).* spec\.artifactStore\.caBundle"
        ):
            await stores.checked("team", named(private, ca_bundle))
    damaged = private.ca_bundle.replace("M", "N", 3)
    with pytest.raises(StorageError, match="caBundle is not PEM text of certificates"):
        await stores.checked("team", named(private, damaged))


async def test_a_new_ca_bundle_counts_at_once(private: PrivateStore) -> None:
    stores = Stores(Settings(), Secrets())
    with pytest.raises(StorageError):
        await stores.checked("team", named(private, private.stranger))
    assert await problem_of(stores, named(private, private.stranger + private.ca_bundle)) is None


class PrivateTrainers(Trainers):
    """Processes of a training whose artefacts lie in the private store."""

    def __init__(self, work: Path, store: PrivateStore, authority: Path, **environment: str) -> None:
        training = tiny_training(20, nodes=1)
        super().__init__(
            work,
            training,
            KINEMA_STORE_CA_FILE=str(authority),
            KINEMA_TRAINER_STORAGE_PATIENCE_SECONDS="5",
            **environment,
        )
        location = StoreLocation(endpoint=store.endpoint, bucket=BUCKET)
        keys = work / "credentials.json"
        keys.write_text(KEYS.model_dump_json(by_alias=True))
        self._app = launch.training_app(training, self.config, local_site(self.folders, location, keys))


def test_a_trainer_commits_to_a_store_with_a_private_authority(private: PrivateStore, tmp_path: Path) -> None:
    group = PrivateTrainers(tmp_path, private, private.authority)
    try:
        group.start_service()
        group.start(0)
        assert group.exit_code(0) == 0, group.log(0)[-2000:]
    finally:
        group.close()
    written = private.client.list_objects(bucket_name=BUCKET, prefix=group.config.prefix, recursive=True)
    names = [found.object_name or "" for found in written]
    assert any("export" in name and name.endswith(layout.MANIFEST) for name in names), names


def test_a_renewed_authority_reaches_a_process_that_runs(private: PrivateStore, tmp_path: Path) -> None:
    keys, mounted = tmp_path / "credentials.json", tmp_path / "ca.crt"
    keys.write_text(KEYS.model_dump_json(by_alias=True))
    mounted.write_text(private.stranger)
    store = open_store(StoreLocation(endpoint=private.endpoint, bucket=BUCKET), keys, mounted)
    with pytest.raises(StorageError, match="not trusted"):
        store.check()
    renewed = tmp_path / "renewed"
    renewed.write_text(private.ca_bundle)
    renewed.rename(mounted)
    store.check()
    mounted.unlink()
    with pytest.raises(StorageError, match="not trusted"):
        store.check()


class Writing:
    """As much of a store as publishing a model needs, by the test's own client."""

    def __init__(self, private: PrivateStore) -> None:
        self._client = private.client

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(bucket_name=BUCKET, object_name=key, data=io.BytesIO(data), length=len(data))

    def put_file(self, key: str, path: Path) -> None:
        self._client.fput_object(bucket_name=BUCKET, object_name=key, file_path=str(path))


@pytest.fixture
def server(private: PrivateStore, tmp_path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A server's address, and an order for it whose files lie in the private store."""
    writing: Any = Writing(private)
    manifest = publish(writing, tmp_path / "export")
    command = [sys.executable, "-m", "kinema_jobs.serve", "--digest", manifest.digest(), "--port", "0"]
    cache = str(tmp_path / "cache")
    environment = {**os.environ, "KINEMA_SERVER_CACHE_DIR": cache, "KINEMA_SERVER_HOST": "127.0.0.1"}

    def readable(key: str) -> str:
        return private.client.presigned_get_object(bucket_name=BUCKET, object_name=key)

    def writable(key: str) -> str:
        return private.client.presigned_put_object(bucket_name=BUCKET, object_name=key)

    weights = layout.model_prefix(manifest.digest())
    target = layout.generation_attempt_prefix("films", "uid-1", 1)
    order = {
        "uid": "uid-1",
        "attempt": 1,
        "namespace": "films",
        "name": "red-square",
        "model": {
            "digest": manifest.digest(),
            "manifestUrl": readable(weights + layout.MANIFEST),
            "files": [{"file": f.to_wire(), "url": readable(weights + f.name)} for f in manifest.files],
        },
        "prompt": "a red square moves right",
        "seconds": 1,
        "size": "24x24",
        "seed": 1,
        "steps": 2,
        "guidanceScale": 3,
        "uploads": [{"name": n, "url": writable(target + n)} for n in ARTEFACTS],
    }
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := LISTENS.search(line):
                yield f"http://127.0.0.1:{found[1].decode()}", order
                break
        process.terminate()
        process.wait()


def carried_out(base: str, order: dict[str, Any]) -> dict[str, Any]:
    """How an order ended; what the server said at once, where it did not take it."""
    try:
        request = urllib.request.Request(f"{base}/v1/orders", data=json.dumps(order).encode())
        urllib.request.urlopen(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        return {"phase": f"refused ({error.code})"}
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with urllib.request.urlopen(f"{base}/v1/orders/uid-1", timeout=30) as answer:
            state: dict[str, Any] = json.loads(answer.read())
        if state["phase"] in ("succeeded", "failed", "cancelled"):
            return state
        time.sleep(0.1)
    pytest.fail(f"not ended: {state}")


def test_a_clip_is_uploaded_to_a_store_with_a_private_authority(
    server: tuple[str, dict[str, Any]], private: PrivateStore
) -> None:
    base, order = server
    trusting = {**order, "caBundle": private.ca_bundle, "model": {**order["model"], "caBundle": private.ca_bundle}}
    state = carried_out(base, trusting)
    assert state["phase"] == "succeeded", state
    prefix = layout.generation_attempt_prefix("films", "uid-1", 1)
    for file in state["result"]["files"]:
        with private.client.get_object(bucket_name=BUCKET, object_name=prefix + file["name"]) as answer:
            assert hashlib.sha256(answer.read()).hexdigest() == file["sha256"]


def test_a_server_says_that_it_does_not_trust_the_store(server: tuple[str, dict[str, Any]]) -> None:
    base, order = server
    state = carried_out(base, order)
    assert (state["phase"], state["retriable"]) == ("failed", True)
    assert "certificate is not trusted" in state["error"]
    assert "caBundle" in state["error"]
