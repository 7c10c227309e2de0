"""A training whose store makes no temporary keys says that its trainers' keys open more than its own prefix."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kinema_operator.core.settings import Settings
from kinema_operator.training.controller import TrainingController
from kinema_operator.training.observed import Observed, ResumePoint


class StoresThatShare:
    """A store without STS."""

    def shares_keys(self, namespace: str, artifact_store: object) -> bool:
        return True


def test_a_store_without_sts_is_told_in_a_condition() -> None:
    spec: dict[str, Any] = {
        "model": {"preset": "tiny"},
        "data": {"world": {"seed": 1}},
        "optimization": {"steps": 10},
        "nodes": 1,
        "artifactStore": {"endpoint": "http://garage:3900", "bucket": "bucket", "secretRef": {"name": "keys"}},
    }
    obj = {
        "apiVersion": "kinema.dev/v1alpha1",
        "kind": "VideoModelTraining",
        "metadata": {"name": "t", "namespace": "team", "uid": "u", "generation": 1},
        "spec": spec,
    }
    stores: Any = StoresThatShare()
    client: Any = None
    controller = TrainingController(Settings(), client, stores, 1)
    plan = controller.plan(
        controller.parse(obj), Observed(resume=ResumePoint(1, 0, None)), datetime(2026, 1, 1, tzinfo=UTC)
    )
    status: Any = plan.status
    told = {condition.type: condition for condition in status.conditions}
    assert "StorageScoped" in told, "nobody says that the keys are wider"
    assert (told["StorageScoped"].status, told["StorageScoped"].reason) == ("False", "StoreWithoutSts")
