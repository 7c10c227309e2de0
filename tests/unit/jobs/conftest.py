"""Fixtures that the jobs' tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema_model.conditions.tasks import TRAINED_BY, Task
from unit.jobs.doors import Door, publish


@pytest.fixture(scope="session")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for words alone."""
    return publish(tmp_path_factory.mktemp("text"), Task.TEXT)


@pytest.fixture(scope="session")
def every_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for every task."""
    return publish(tmp_path_factory.mktemp("every"), *(task for task in Task if task not in TRAINED_BY))


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Door:
    (tmp_path / "out").mkdir()
    return Door(monkeypatch, capsys, tmp_path / "out")
