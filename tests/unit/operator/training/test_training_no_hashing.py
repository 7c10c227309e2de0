"""The operator's process never reads or copies a model: what that takes minutes for would hold up everything else."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kinema_api import layout
from kinema_api.base import utc_now
from kinema_api.errors import StorageError
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import StoreLocation
from kinema_api.objectstores import FolderStore, open_store
from kinema_operator.core.plan import Key
from kinema_operator.core.settings import Settings
from kinema_operator.registry import controllers
from kinema_operator.shell.cache import ObjectCache

KEY = Key("VideoModelTraining", "studio", "t")
EXPORT = "trainings/studio/t/u/run-001/attempt-001/export/"


class Client:
    fence = None

    async def get(self, kind: str, namespace: str, name: str) -> None:
        return None

    async def patch(self, ref: Any, body: Any, resource_version: str | None) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("spoilt", [False, True])
async def test_publishing_reads_no_byte_of_a_model_in_the_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: bool
) -> None:
    (tmp_path / "kinema").mkdir()
    store = open_store(StoreLocation(endpoint=f"file://{tmp_path}", bucket="kinema"), None)
    store.put(EXPORT + "model.safetensors", b"other" if spoilt else b"weights")
    file = ManifestFile(name="model.safetensors", sha256=hashlib.sha256(b"weights").hexdigest(), bytes=7)
    manifest = Manifest.model_validate(
        {
            "kind": "model", "files": [file], "run": 1, "attempt": 1, "round": 1, "step": 1, "worldSize": 1,
            "samples": 1, "created": datetime(2026, 3, 1, tzinfo=UTC),
        }
    )  # fmt: skip
    store.put(EXPORT + layout.MANIFEST, manifest.to_bytes())
    touched: list[str] = []
    for method in ("sha256", "copy", "get_file"):
        original = getattr(FolderStore, method)

        def spy(self: FolderStore, *given: Any, _call: Any = original, _name: str = method, **named: Any) -> Any:
            touched.append(_name)
            return _call(self, *given, **named)

        monkeypatch.setattr(FolderStore, method, spy)
    client: Any = Client()
    training, *_ = controllers(Settings(store_endpoint=f"file://{tmp_path}"), client)
    obj: dict[str, Any] = {
        "apiVersion": "kinema.dev/v1alpha1",
        "kind": "VideoModelTraining",
        "metadata": {"name": "t", "namespace": "studio", "uid": "u", "generation": 1, "resourceVersion": "1"},
        "spec": {"model": {"preset": "tiny"}, "data": {"world": {}}, "optimization": {"steps": 1}},
        "status": {"run": 1, "attempt": 1, "phase": "Publishing"},
    }
    for _ in range(3):
        parsed = training.parse(obj)
        plan = training.plan(parsed, await training.observe(KEY, parsed, ObjectCache(lambda _: None)), utc_now())
        for effect in plan.effects:
            with suppress(StorageError):
                await training.perform(KEY, parsed, effect)
    assert touched == [], "a pod's work was done in the operator"
