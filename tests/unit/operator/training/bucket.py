"""A bucket in a folder, and one look of the control plane at a training that uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kinema_api.objectstore import ObjectStore, StoreLocation
from kinema_api.objectstores import FolderStore
from kinema_api.training import VideoModelTraining
from kinema_operator.core.plan import Key, Plan
from kinema_operator.core.settings import Settings
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.training.controller import TrainingController
from kinema_operator.training.plan import decide
from kinema_operator.training.view import View
from unit.operator.training.conftest import NOW

KEY = Key("VideoModelTraining", "team", "tiny-world")


class One:
    """Every spec's store is this one."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def checked(self, namespace: str, artifact_store: Any) -> ObjectStore:
        return self._store

    for_object = checked


class NoSecrets:
    async def get(self, kind: str, namespace: str, name: str) -> None:
        return None


def bucket(folder: Path, kind: type[FolderStore] = FolderStore) -> FolderStore:
    (folder / "kinema").mkdir()
    return kind(StoreLocation(endpoint=f"file://{folder}", bucket="kinema"))


async def look(training: VideoModelTraining, store: ObjectStore, settings: Settings) -> Plan:
    """Observe, decide, and carry out what is to be done in the bucket, but for keys."""
    controller = TrainingController(settings, NoSecrets(), One(store), 1)  # type: ignore[arg-type]
    obj = {name: getattr(training, name).to_wire() for name in ("metadata", "spec", "status")}
    seen = await controller.observe(KEY, controller.parse(obj), ObjectCache(lambda _: None))
    assert seen is not None
    plan = decide(View(training, seen, settings, NOW))
    for effect in plan.effects:
        if type(effect).__name__ == "CloseAttempt":
            await controller.perform(KEY, controller.parse(obj), effect)
    return plan
