"""A store that does not keep to the conditions of writes cannot tell two groups of one training apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kinema_api.base import find_condition
from kinema_api.objectstores import FolderStore
from kinema_operator.core.settings import Settings
from unit.operator.training.bucket import bucket, look
from unit.operator.training.facts import status_of


class Careless(FolderStore):
    """Takes conditions of writes for decoration, as a store that does not know the headers."""

    def put_if(self, key: str, data: bytes, etag: str | None, content_type: str = "application/octet-stream") -> str:
        self.put(key, data)
        found = self.stat(key)
        assert found
        return found.etag


async def test_no_attempt_begins_on_a_store_that_cannot_tell_two_groups_apart(
    make_training: Any, settings: Settings, tmp_path: Path
) -> None:
    plan = await look(make_training(), bucket(tmp_path, Careless), settings)
    status = status_of(plan)
    assert status.attempt == 0, "an attempt was begun"
    running = find_condition(status.conditions, "Running")
    assert running is not None
    assert (running.status, running.reason) == ("False", "StoreLacksConditionalWrites")
    assert "does not refuse a second creation of an object" in running.message
    assert "store.allowWeakFence" in running.message


async def test_somebody_may_allow_the_weaker_fence(make_training: Any, settings: Settings, tmp_path: Path) -> None:
    weak = settings.model_copy(update={"allow_weak_fence": True})
    plan = await look(make_training(), bucket(tmp_path, Careless), weak)
    assert status_of(plan).attempt == 1
