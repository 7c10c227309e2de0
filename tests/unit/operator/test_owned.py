"""What is remembered of Jobs that lack pods saves questions, and goes with the Jobs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kinema_operator.core.plan import Key
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.shell.owned import LACKING_SECONDS, PODS_REFUSED, Owned
from kinema_operator.shell.reconcile import Reconciler
from kinema_operator.shell.workqueue import WorkQueue

LABEL = "kinema.dev/training"


class Events:
    """The events of every namespace: that the pods of all Jobs are refused."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def list_all(
        self, kind: str, namespace: str | None = None, selector: str | None = None, fields: str | None = None
    ) -> tuple[list[dict[str, Any]], str]:
        self.asked.append(namespace)
        return [{"involvedObject": {"uid": uid}, "message": "quota"} for uid in ("job-a", "job-b", "job-c")], "1"


class Bed:
    """Trainings with a Job each, and time that goes by at will."""

    def __init__(self) -> None:
        self.now, self.version = 0.0, 10
        self.cache = ObjectCache(lambda _: None)
        for kind in ("Job", "Deployment", "Pod"):
            self.cache.watch_kind(kind, {})
        self.events = Events()
        self.owned = Owned(self.cache, self.events, lambda: self.now)

    def training(self, name: str, namespace: str = "team") -> dict[str, Any]:
        return {"kind": "VideoModelTraining", "metadata": {"name": name, "namespace": namespace, "uid": name}}

    def job(self, name: str, change: str = "ADDED", namespace: str = "team", **spec: Any) -> None:
        self.version += 1
        metadata = {
            "name": f"{name}-r1-a1", "namespace": namespace, "uid": f"job-{name}", "labels": {LABEL: name},
            "resourceVersion": str(self.version), "ownerReferences": [{"uid": name, "controller": True}],
        }  # fmt: skip
        self.cache.advance("Job", change, {"kind": "Job", "metadata": metadata, "spec": {"parallelism": 1, **spec}})

    async def refused(self, name: str, namespace: str = "team") -> list[str]:
        found, _ = await self.owned.findings(self.training(name, namespace))
        return [refusal.reason for refusal in found.refusals]

    def kept(self) -> list[Any]:
        """All that it remembers of anything."""
        return [held for name, held in vars(self.owned).items() if isinstance(held, dict) and held]


@pytest.fixture
def bed() -> Bed:
    return Bed()


async def lacking(bed: Bed, *names: str) -> None:
    """Jobs of these trainings whose pods are known to be refused."""
    for name in names:
        bed.job(name)
        assert await bed.refused(name) == []
    bed.now += LACKING_SECONDS
    for name in names:
        assert await bed.refused(name) == [PODS_REFUSED]


async def test_one_question_tells_of_all_jobs_of_a_namespace(bed: Bed) -> None:
    await lacking(bed, "a", "b")
    assert bed.events.asked == ["team"]
    bed.now += LACKING_SECONDS / 2
    assert await bed.refused("a") == [PODS_REFUSED]
    assert bed.events.asked == ["team"]
    assert bed.kept()


async def test_nothing_is_kept_of_jobs_that_vanish(bed: Bed) -> None:
    await lacking(bed, "a")
    bed.job("a", "DELETED")
    assert await bed.refused("a") == []
    assert bed.kept() == []


async def test_nothing_is_kept_of_jobs_that_lack_no_pods_any_more(bed: Bed) -> None:
    await lacking(bed, "a")
    bed.job("a", "MODIFIED", suspend=True)
    assert await bed.refused("a") == []
    assert bed.kept() == []


async def test_nothing_is_kept_of_resources_that_are_gone(bed: Bed) -> None:
    await lacking(bed, "a", "b")
    bed.owned.forget(Key("VideoModelTraining", "team", "a"))
    assert await bed.refused("b") == [PODS_REFUSED]
    assert bed.events.asked == ["team"], "what was told of the namespace is good for the others"
    bed.owned.forget(Key("VideoModelTraining", "team", "b"))
    assert bed.kept() == []


async def test_a_reconcile_of_what_is_gone_forgets_it(bed: Bed) -> None:
    nobody: Any = SimpleNamespace(kind="VideoModelTraining")
    client: Any = bed.events
    queue: WorkQueue[Key] = WorkQueue(0.1, 1.0, lambda: 0.0)
    reconciler = Reconciler([nobody], bed.cache, client, nobody, queue, 0.0, clock=lambda: bed.now)
    bed.owned = reconciler._owned
    await lacking(bed, "a")
    assert await reconciler.reconcile(Key("VideoModelTraining", "team", "a")) is None
    assert bed.kept() == []


async def test_other_namespaces_are_remembered(bed: Bed) -> None:
    bed.job("c", namespace="other")
    assert await bed.refused("c", "other") == []
    await lacking(bed, "a")
    assert await bed.refused("c", "other") == [PODS_REFUSED]
    bed.owned.forget(Key("VideoModelTraining", "team", "a"))
    assert await bed.refused("c", "other") == [PODS_REFUSED]
    assert bed.events.asked == ["team", "other"]
