"""What is done in the bucket, on a real MinIO: publish, refuse a flipped byte, prune, find to resume."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from kinema_api import layout
from kinema_api.errors import BrokenManifest
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import ObjectStore, StoreCredentials, StoreLocation
from kinema_api.objectstores import S3Store
from kinema_jobs.train.publication import publish
from kinema_jobs.train.storage import RetryPolicy
from kinema_operator.training import fence
from kinema_operator.training.effects import PruneCheckpoints
from kinema_operator.training.fence import read_export
from kinema_operator.training.perform import prune

KEYS = StoreCredentials(access_key="kinema-test", secret_key="kinema-test-secret")


@pytest.fixture
def store(minio_endpoint: str) -> ObjectStore:
    made = S3Store(StoreLocation(endpoint=minio_endpoint, bucket="artifacts"), KEYS)
    if not made._client.bucket_exists(bucket_name="artifacts"):
        made._client.make_bucket(bucket_name="artifacts")
    return made


def write(store: ObjectStore, prefix: str, kind: str, files: dict[str, bytes], **at: int) -> Manifest:
    for name, data in files.items():
        store.put(prefix + name, data)
    manifest = Manifest.model_validate(
        {
            "kind": kind,
            "files": [
                ManifestFile(name=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
                for name, data in files.items()
            ],
            **{"run": 1, "attempt": 1, "round": 1, "step": 10, "worldSize": 2, "samples": 0} | at,
            "created": datetime(2026, 3, 1, tzinfo=UTC),
        }
    )
    store.put(prefix + layout.MANIFEST, manifest.to_bytes())
    return manifest


PATIENCE = RetryPolicy(5.0)


def export(store: ObjectStore, name: str, **files: bytes) -> tuple[str, Manifest]:
    attempt = layout.attempt_prefix("team", name, "uid", 1, 1)
    prefix = layout.export_prefix(attempt)
    manifest = write(store, prefix, "model", {key.replace("_", "."): data for key, data in files.items()})
    return prefix, manifest


def test_a_model_is_copied_whole_and_again_without_harm(store: ObjectStore) -> None:
    prefix, manifest = export(store, "good", model_safetensors=b"weights", config_json=b"{}")
    publish(store, prefix, manifest.digest(), PATIENCE)
    target = layout.model_prefix(manifest.digest())
    assert {found.key for found in store.list(target)} == {
        target + "manifest.json",
        target + "model.safetensors",
        target + "config.json",
    }
    assert "sha256:" + store.sha256(target + layout.MANIFEST)[0] == manifest.digest()
    assert store.get(target + "model.safetensors") == b"weights"
    store.put(prefix + "model.safetensors", b"spoilt afterwards")
    publish(store, prefix, manifest.digest(), PATIENCE)
    assert store.get(target + "model.safetensors") == b"weights"
    assert read_export(store, prefix) == manifest


def test_a_flipped_byte_is_refused_and_nothing_is_published(store: ObjectStore) -> None:
    prefix, manifest = export(store, "flipped", model_safetensors=b"weights!")
    store.put(prefix + "model.safetensors", b"weights?")
    with pytest.raises(BrokenManifest, match=r"model\.safetensors does not have the sha256"):
        publish(store, prefix, manifest.digest(), PATIENCE)
    assert store.stat(layout.model_prefix(manifest.digest()) + layout.MANIFEST) is None


def test_a_missing_file_and_another_model_are_refused(store: ObjectStore) -> None:
    prefix, manifest = export(store, "missing", model_safetensors=b"w1")
    store.delete(prefix + "model.safetensors")
    with pytest.raises(BrokenManifest, match="missing"):
        publish(store, prefix, manifest.digest(), PATIENCE)
    other = "sha256:" + "0" * 64
    with pytest.raises(BrokenManifest, match="is not the manifest of the model"):
        publish(store, prefix, other, PATIENCE)
    assert list(store.list(layout.model_prefix(other))) == []


def test_an_export_that_is_no_model_is_refused(store: ObjectStore) -> None:
    prefix = layout.export_prefix(layout.attempt_prefix("team", "wrong", "uid", 1, 1))
    assert read_export(store, prefix) is None
    write(store, prefix, "checkpoint", {"a": b"1"})
    with pytest.raises(BrokenManifest, match="not of a model"):
        read_export(store, prefix)
    store.put(prefix + layout.MANIFEST, b"{torn")
    with pytest.raises(BrokenManifest, match="not a readable manifest"):
        read_export(store, prefix)


async def test_pruning_keeps_what_may_still_be_needed(store: ObjectStore) -> None:
    run = layout.run_prefix("team", "pruned", "uid", 1)
    attempts = [layout.attempt_prefix("team", "pruned", "uid", 1, attempt) for attempt in (1, 2)]
    for attempt, prefix in enumerate(attempts, 1):
        for step in (10, 20, 30):
            at = layout.checkpoint_prefix(prefix, step, 1)
            write(store, at, "checkpoint", {"w.distcp": b"x"}, attempt=attempt, step=step)
    resumed = layout.checkpoint_prefix(attempts[0], 20, 1)
    await prune(store, PruneCheckpoints(1, run, 2, resumed))
    left = [checkpoint.prefix for checkpoint in fence.committed(found.key for found in store.list(run))]
    assert left == [
        layout.checkpoint_prefix(attempts[1], 30, 1),
        layout.checkpoint_prefix(attempts[1], 20, 1),
        resumed,
    ]
    found = fence.find(store, attempts[1], resumed)
    assert found.checkpoint is not None
    assert found.checkpoint.prefix == left[0]
