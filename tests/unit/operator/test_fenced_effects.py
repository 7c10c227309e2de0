"""A thread that prunes stops at the next object once the lease is lost."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kinema_api import layout
from kinema_api.objectstore import StoreLocation
from kinema_api.objectstores import FolderStore, open_store
from kinema_operator.core.errors import NotLeading
from kinema_operator.core.plan import Key
from kinema_operator.core.settings import Settings
from kinema_operator.registry import controllers
from kinema_operator.training.effects import PruneCheckpoints

OBJECT: dict[str, Any] = {
    "apiVersion": "kinema.dev/v1alpha1",
    "kind": "VideoModelTraining",
    "metadata": {"name": "t", "namespace": "studio", "uid": "u", "generation": 1},
    "spec": {"model": {"preset": "tiny"}, "data": {"world": {}}, "optimization": {"steps": 1}},
    "status": {"run": 1, "attempt": 1},
}
KEY = Key("VideoModelTraining", "studio", "t")


class LosesTheLease:
    """The API client as far as effects go: its fence closes when the first object has been written."""

    def __init__(self) -> None:
        self.leading = True

    def fence(self) -> float:
        if not self.leading:
            raise NotLeading("another replica leads; wait")
        return 5.0

    async def get(self, kind: str, namespace: str, name: str) -> None:
        return None


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    (tmp_path / "kinema").mkdir()
    made = open_store(StoreLocation(endpoint=f"file://{tmp_path}", bucket="kinema"), None)
    assert isinstance(made, FolderStore)
    return made


def written(store: FolderStore, prefix: str) -> list[str]:
    return [found.key for found in store.list(prefix)]


async def test_pruning_stops_when_the_lease_is_lost(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = "trainings/studio/t/u/run-001/"
    for step in (1, 2, 3, 4):
        folder = layout.checkpoint_prefix(f"{prefix}attempt-001/", step, 1)
        for name in ("__0_0.distcp", layout.MANIFEST):
            store.put(folder + name, b"x")
    before = len(written(store, prefix))
    client: Any = LosesTheLease()
    original = FolderStore.delete

    def delete(self: FolderStore, key: str) -> None:
        original(self, key)
        client.leading = False

    monkeypatch.setattr(FolderStore, "delete", delete)
    training, *_ = controllers(Settings(store_endpoint=f"file://{tmp_path}"), client)
    with suppress(NotLeading):
        await training.perform(KEY, training.parse(OBJECT), PruneCheckpoints(1, prefix, 1, None))
    assert before - len(written(store, prefix)) == 1
