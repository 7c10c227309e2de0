"""The process that publishes a model: what it leaves in the bucket, and how it tells what it found."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kinema_api import layout
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import ObjectStore, StoreLocation
from kinema_api.objectstores import open_store
from kinema_api.run import PublicationConfig
from kinema_api.wire import EXPORT_BROKEN_EXIT
from kinema_jobs.train.publication import main

AT = {"namespace": "studio", "name": "t", "uid": "u", "run": 1, "attempt": 1}


class Bucket:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "kinema").mkdir()
        self.store: ObjectStore = open_store(StoreLocation(endpoint=f"file://{folder}", bucket="kinema"), None)
        self.log = folder / "termination-log"
        for name, value in {
            "KINEMA_STORE_ENDPOINT": f"file://{folder}",
            "KINEMA_STORE_BUCKET": "kinema",
            "KINEMA_TERMINATION_LOG": str(self.log),
        }.items():
            monkeypatch.setenv(name, value)
        prefix = PublicationConfig(**AT, model_digest="").prefix
        self.export = layout.export_prefix(prefix)
        files = {"model.safetensors": b"weights", "config.json": b"{}"}
        for name, data in files.items():
            self.store.put(self.export + name, data)
        entries = [
            ManifestFile(name=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
            for name, data in files.items()
        ]
        self.manifest = Manifest(
            kind="model", files=tuple(entries), run=1, attempt=1, round=1, step=1, world_size=1, samples=1,
            created=datetime(2026, 3, 1, tzinfo=UTC),
        )  # fmt: skip
        self.store.put(self.export + layout.MANIFEST, self.manifest.to_bytes())

    def publish(self, digest: str | None = None) -> int:
        config = PublicationConfig(**AT, model_digest=digest or self.manifest.digest())
        return main(["--config", config.model_dump_json(by_alias=True)])

    def word(self) -> Any:
        return json.loads(self.log.read_text())

    def models(self) -> set[str]:
        prefix = layout.model_prefix(self.manifest.digest())
        return {found.key.removeprefix(prefix) for found in self.store.list("models/")}


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return Bucket(tmp_path, monkeypatch)


def test_a_model_is_published_whole_and_again_without_harm(bucket: Bucket) -> None:
    assert bucket.publish() == 0
    assert bucket.models() == {"model.safetensors", "config.json", "manifest.json"}
    bucket.store.put(bucket.export + "model.safetensors", b"spoilt afterwards")
    assert bucket.publish() == 0


@pytest.mark.parametrize("fault", ["changed", "missing", "another model"])
def test_an_export_that_can_never_be_published_has_an_exit_code_of_its_own(bucket: Bucket, fault: str) -> None:
    if fault == "changed":
        bucket.store.put(bucket.export + "model.safetensors", b"weightz")
    elif fault == "missing":
        bucket.store.delete(bucket.export + "model.safetensors")
    digest = "sha256:" + "0" * 64 if fault == "another model" else None
    assert bucket.publish(digest) == EXPORT_BROKEN_EXIT
    assert "the model is exported again" in bucket.word()["message"]
    assert "manifest.json" not in bucket.models()


def test_a_configuration_that_makes_no_sense_is_a_user_error(bucket: Bucket) -> None:
    assert main(["--config", "{}"]) == 2
    assert bucket.word()["failureClass"] == "user_error"


def test_it_starts_without_torch() -> None:
    check = "import sys, kinema_jobs.train.publication; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
