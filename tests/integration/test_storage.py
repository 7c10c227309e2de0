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
from kinema_operator.core.settings import Settings
from kinema_operator.shell.storage import MAX_POLICY_BYTES, SecretMissing, Stores, scoped_policy
from kinema_operator.training.scope import Scope

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
