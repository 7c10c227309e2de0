"""Stores as specs name them, and credentials that reach one training's prefix only, against a real MinIO."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest
from minio import Minio
from minio.deleteobjects import DeleteObject

from kinema_api.base import ArtifactStore, SecretName
from kinema_api.errors import BucketMissing, StorageDenied, StorageUnreachable
from kinema_api.objectstore import StoreCredentials
from kinema_api.objectstores import open_store
from kinema_api.training import VideoModelTraining
from kinema_operator.core.settings import Settings
from kinema_operator.shell.storage import MAX_POLICY_BYTES, SecretMissing, Stores, scoped_policy
from kinema_operator.training.scope import Scope, of_preparers, of_trainers

KEYS = StoreCredentials(access_key="kinema-test", secret_key="kinema-test-secret")
BUCKET = "scoped"
MINE = "trainings/team/mine/uid-1/"
OTHER = "trainings/team/other/uid-2/"


class Secrets:
    """Secrets as the API server would answer them."""

    def __init__(self, **secrets: dict[str, str]) -> None:
        self.secrets = secrets

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        assert (kind, namespace) == ("Secret", "team")
        data = self.secrets.get(name)
        labels = {"kinema.dev/store-keys": "true"}
        return data and {
            "metadata": {"labels": labels},
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
        }


def s3_client(endpoint: str, keys: StoreCredentials = KEYS) -> Minio:
    return Minio(
        endpoint=endpoint.removeprefix("http://"),
        access_key=keys.access_key,
        secret_key=keys.secret_key,
        session_token=keys.session_token,
        secure=False,
        region="us-east-1",
    )


@pytest.fixture
def stores(minio_endpoint: str, tmp_path: Path) -> Stores:
    client = s3_client(minio_endpoint)
    if not client.bucket_exists(bucket_name=BUCKET):
        client.make_bucket(bucket_name=BUCKET)
    file = tmp_path / "credentials.json"
    file.write_text(KEYS.model_dump_json(by_alias=True))
    settings = Settings(store_endpoint=minio_endpoint, store_bucket=BUCKET, store_credentials_file=file)
    return Stores(settings, Secrets())


async def test_scoped_credentials_reach_their_prefix_and_nothing_else(stores: Stores, minio_endpoint: str) -> None:
    store = await stores.checked("team", None)
    store.put(OTHER + "secret", b"not yours")
    keys = await stores.scoped_credentials(store, Scope((MINE,)), 900)
    assert keys.session_token
    assert keys.expires is not None
    assert 0 < keys.expires - time.time() <= 905

    pod = open_store(store.location, keys)
    pod.put(MINE + "a", b"1")
    assert pod.get(MINE + "a") == b"1"
    assert [found.key for found in pod.list(MINE)] == [MINE + "a"]
    for refused in (
        lambda: pod.get(OTHER + "secret"),
        lambda: pod.put(OTHER + "secret", b"spoilt"),
        lambda: list(pod.list(OTHER)),
        lambda: list(pod.list("trainings/")),
        lambda: pod.put("models/aa/manifest.json", b"{}"),
        lambda: pod.copy(OTHER + "secret", MINE + "stolen"),
        lambda: pod.delete(MINE + "a"),
    ):
        with pytest.raises(StorageDenied):
            refused()
    bulk = s3_client(minio_endpoint, keys).remove_objects(
        bucket_name=BUCKET, delete_object_list=[DeleteObject(MINE + "a")]
    )
    assert [error.code for error in bulk] == ["AccessDenied"]
    assert store.get(OTHER + "secret") == b"not yours"
    assert store.get(MINE + "a") == b"1"


async def test_what_a_pod_may_read_beside_its_prefix_it_cannot_write(stores: Stores) -> None:
    store = await stores.for_object("team", None)
    for prefix in ("models/aa/", "models/bb/"):
        store.put(f"{prefix}manifest.json", b"{}")
    pod = open_store(
        store.location, await stores.scoped_credentials(store, Scope((MINE,), browse=("models/aa/",)), 900)
    )
    assert pod.get("models/aa/manifest.json") == b"{}"
    assert [found.key for found in pod.list("models/aa/")] == ["models/aa/manifest.json"]
    pod.put(MINE + "b", b"1")
    for refused in (
        lambda: pod.put("models/aa/manifest.json", b"spoilt"),
        lambda: pod.put("models/aa/more", b"1"),
        lambda: pod.get("models/bb/manifest.json"),
        lambda: list(pod.list("models/")),
    ):
        with pytest.raises(StorageDenied):
            refused()


def recorded(status: dict[str, Any]) -> VideoModelTraining:
    """A training of the namespace team with one folder of clips."""
    return VideoModelTraining.parse(
        {
            "metadata": {"name": "a", "namespace": "team", "uid": "u"},
            "spec": {
                "model": {"preset": "tiny"},
                "data": {"videos": [{"uri": f"s3://{BUCKET}/inputs/team/clips/"}]},
                "optimization": {"steps": 1},
            },
            "status": status,
        }
    )


async def test_those_that_prepare_clips_reach_their_folders_and_the_namespace_s_datasets(stores: Stores) -> None:
    store = await stores.for_object("team", None)
    for key in ("inputs/team/clips/a.mp4", "inputs/team/other/b.mp4", "inputs/others/clips/c.mp4", "datasets/others/d"):
        store.put(key, b"1")
    scope = of_preparers(recorded({"phase": "Preparing", "run": 2}))
    pod = open_store(store.location, await stores.scoped_credentials(store, scope, 900))
    assert [found.key for found in pod.list("inputs/team/clips/")] == ["inputs/team/clips/a.mp4"]
    assert pod.get("inputs/team/clips/a.mp4") == b"1"
    pod.put("datasets/team/f00d/parts/1.json", b"{}")
    assert pod.put_if("datasets/team/f00d/b33f/dataset.json", b"{}", None)
    assert len(list(pod.list("datasets/team/f00d/"))) == 2
    pod.put("trainings/team/a/u/run-002/prepared.json", b"{}")
    assert pod.get("trainings/team/a/u/run-002/prepared.json") == b"{}"
    assert pod.stat("trainings/team/a/u/run-002/prepared.html") is None
    for refused in (
        lambda: pod.put("inputs/team/clips/a.mp4", b"spoilt"),
        lambda: pod.get("inputs/team/other/b.mp4"),
        lambda: pod.get("inputs/others/clips/c.mp4"),
        lambda: list(pod.list("inputs/others/")),
        lambda: list(pod.list("inputs/")),
        lambda: pod.get("datasets/others/d"),
        lambda: pod.put("datasets/others/d", b"spoilt"),
        lambda: pod.put("trainings/team/a/u/run-001/prepared.json", b"{}"),
        lambda: pod.put("models/aa/manifest.json", b"{}"),
        lambda: pod.delete("datasets/team/f00d/parts/1.json"),
    ):
        with pytest.raises(StorageDenied):
            refused()


async def test_trainers_read_the_datasets_of_their_run_and_write_none(stores: Stores) -> None:
    store = await stores.for_object("team", None)
    folder, other = "datasets/team/" + "a" * 64 + "/", "datasets/team/" + "c" * 64 + "/"
    for key in (f"{folder}b33f/dataset.json", f"{folder}shards/1", f"{other}b33f/dataset.json"):
        store.put(key, b"1")
    made = {"uri": "s3://x/", "prefix": f"{folder}b33f/", "digest": "sha256:" + "d" * 64}
    counts = {"samples": 1, "inputs": 1, "seconds": 1, "bytes": 1}
    dataset = {"digest": "sha256:" + "d" * 64, "samples": 1, "seconds": 1, "reportUri": "", "datasets": [made | counts]}
    training = recorded({"phase": "Training", "run": 1, "attempt": 1, "dataset": dataset})
    pod = open_store(store.location, await stores.scoped_credentials(store, of_trainers(training), 900))
    assert pod.get(f"{folder}b33f/dataset.json") == b"1"
    assert pod.get_range(f"{folder}shards/1", 0, 1) == b"1"
    pod.put("trainings/team/a/u/run-001/attempt-001/head.json", b"{}")
    for refused in (
        lambda: pod.get(f"{other}b33f/dataset.json"),
        lambda: pod.put(f"{folder}b33f/dataset.json", b"spoilt"),
        lambda: pod.put(f"{folder}shards/2", b"spoilt"),
        lambda: list(pod.list("datasets/team/")),
        lambda: pod.get("inputs/team/clips/a.mp4"),
    ):
        with pytest.raises(StorageDenied):
            refused()


async def test_a_large_file_goes_up_in_parts(stores: Stores, tmp_path: Path) -> None:
    store = await stores.for_object("team", None)
    pod = open_store(store.location, await stores.scoped_credentials(store, Scope((MINE,)), 900))
    large = tmp_path / "large"
    large.write_bytes(b"x" * (12 << 20))
    pod.put_file(MINE + "large", large)
    assert pod.sha256(MINE + "large")[1] == 12 << 20


async def test_the_store_of_a_spec_is_opened_with_its_secret(minio_endpoint: str) -> None:
    spec = ArtifactStore(endpoint=minio_endpoint, bucket=BUCKET, secret_ref=SecretName(name="keys"))
    secrets = Secrets()
    stores = Stores(Settings(), secrets)
    with pytest.raises(SecretMissing, match="create it with the keys accessKey and secretKey"):
        await stores.for_object("team", spec)
    secrets.secrets["keys"] = {"accessKey": "kinema-test"}
    with pytest.raises(SecretMissing, match="lacks the key secretKey"):
        await stores.for_object("team", spec)
    secrets.secrets["keys"]["secretKey"] = "kinema-test-secret"
    store = await stores.for_object("team", spec)
    assert store is await stores.for_object("team", spec)
    store.put(MINE + "from-secret", b"1")


async def test_what_is_wrong_with_a_store_is_named(stores: Stores, minio_endpoint: str) -> None:
    with pytest.raises(StorageDenied, match="KINEMA_STORE_ENDPOINT"):
        await Stores(Settings(), Secrets()).for_object("team", None)
    secrets = Secrets(keys={"accessKey": "kinema-test", "secretKey": "wrong"})
    wrong = ArtifactStore(endpoint=minio_endpoint, bucket=BUCKET, secret_ref=SecretName(name="keys"))
    denied = Stores(Settings(), secrets)
    store = await denied.for_object("team", wrong)
    with pytest.raises(StorageDenied, match="AssumeRole"):
        await denied.scoped_credentials(store, Scope((MINE,)), 900)
    with pytest.raises(StorageDenied):
        await denied.checked("team", wrong)
    secrets.secrets["right"] = {"accessKey": "kinema-test", "secretKey": "kinema-test-secret"}
    right = SecretName(name="right")
    with pytest.raises(BucketMissing, match="create it"):
        await denied.checked("team", ArtifactStore(endpoint=minio_endpoint, bucket="not-there", secret_ref=right))
    away = ArtifactStore(endpoint="http://127.0.0.1:9", bucket=BUCKET, secret_ref=right)
    with pytest.raises(StorageUnreachable):
        await denied.checked("team", away)
    with pytest.raises(StorageUnreachable):
        await denied.scoped_credentials(await denied.for_object("team", away), Scope((MINE,)), 900)


def test_the_longest_names_fit_into_a_session_policy() -> None:
    longest = f"trainings/{'n' * 63}/{'t' * 40}/{'u' * 36}/"
    assert len(scoped_policy("b" * 63, Scope((longest,)))) < MAX_POLICY_BYTES
    with pytest.raises(StorageDenied, match="shorter names"):
        scoped_policy("b" * 63, Scope((longest,) * 8))
