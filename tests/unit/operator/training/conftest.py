"""A training, its settings and looks at it, made with few words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kinema_api.training import VideoModelTraining
from kinema_operator.core.settings import Settings
from kinema_operator.training.observed import Observed
from kinema_operator.training.view import View

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BASE: dict[str, Any] = {
    "model": {"preset": "tiny"},
    "data": {"world": {"seed": 7}},
    "optimization": {"steps": 800},
    "nodes": 2,
    "elastic": {"minNodes": 1, "maxNodes": 3},
    "publish": {"model": "tiny-world"},
}

MakeTraining = Callable[..., VideoModelTraining]
MakeView = Callable[..., View]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(store_endpoint="http://minio.kinema-system.svc:9000", store_credentials_file=tmp_path / "keys")


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def make_training() -> MakeTraining:
    def make(status: dict[str, Any] | None = None, name: str = "tiny-world", **spec: Any) -> VideoModelTraining:
        wanted = {key: value for key, value in (BASE | spec).items() if value is not None}
        metadata: dict[str, Any] = {"name": name, "namespace": "team", "uid": "7a1f", "generation": 3}
        if status and status.get("run"):
            # As a training has it that has committed something.
            metadata["annotations"] = {"kinema.dev/artifacts": f"7a1f/{status['run']}/{status.get('runId') or ''}"}
        return VideoModelTraining.parse({"metadata": metadata, "spec": wanted, "status": status or {}})

    return make


@pytest.fixture
def make_view(make_training: MakeTraining, settings: Settings) -> MakeView:
    def make(
        status: dict[str, Any] | None = None, seen: Observed | None = None, now: datetime = NOW, **spec: Any
    ) -> View:
        return View(make_training(status, **spec), seen or Observed(), settings, now)

    return make
