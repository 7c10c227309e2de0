"""A training is judged by how much time passes, never by comparing clocks of two machines; silence counts."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from kinema_api.base import utc_now
from kinema_api.errors import StorageUnreachable
from kinema_api.training import VideoModelTraining
from kinema_operator.core.plan import Key, Plan
from kinema_operator.core.settings import Settings
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.training import trainers as asking
from kinema_operator.training.controller import TrainingController
from kinema_operator.training.plan import decide
from kinema_operator.training.view import View
from unit.operator.training.agents import Pods
from unit.operator.training.facts import message, status_of

KEY = Key("VideoModelTraining", "team", "tiny-world")
LIMIT = 700
"""Seconds that are longer than any limit of the default settings."""


class NoExport:
    """A store that is away: what looks like a failure is held, so that the plan shows it."""

    async def for_object(self, namespace: str, artifact_store: Any) -> Any:
        raise StorageUnreachable("the store was asked, so a failure is suspected")

    checked = for_object


class Secrets:
    async def get(self, kind: str, namespace: str, name: str) -> None:
        return None


class Life:
    """A training with two trainers, looked at as the operator does, while time goes by at will."""

    def __init__(self, training: VideoModelTraining, settings: Settings, pods: Pods, monkeypatch: Any) -> None:
        self.training, self.settings, self.pods = training, settings, pods
        self.ahead = 0.0
        monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + self.ahead))
        self._controller = TrainingController(settings, Secrets(), NoExport(), pods.port)  # type: ignore[arg-type]
        self._controller._observer.remember_credentials(training, utc_now() + timedelta(days=1))
        self._cache = ObjectCache(lambda _: None)
        for kind in ("Job", "Pod"):
            self._cache.watch_kind(kind, {})
        labels = {"kinema.dev/training": "tiny-world", "kinema.dev/run": "1", "kinema.dev/attempt": "1"}
        job = {
            "kind": "Job",
            "metadata": {
                "name": "tiny-world-r1-a1", "namespace": "team", "uid": "job", "resourceVersion": "1",
                "labels": {**labels, "app.kubernetes.io/component": "trainer"},
                "ownerReferences": [{"uid": "7a1f", "kind": "VideoModelTraining", "controller": True}],
            },
            "spec": {"parallelism": 2},
        }  # fmt: skip
        self._cache.replace("Job", [job], 10)
        started = (utc_now() - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
        made = [self._pod(n, {**labels, "app.kubernetes.io/component": "trainer"}, started) for n in range(2)]
        made.append(self._pod(2, {**labels, "app.kubernetes.io/component": "rendezvous"}, started))
        self._cache.replace("Pod", made, 10)

    def _pod(self, number: int, labels: dict[str, str], started: str) -> dict[str, Any]:
        name = labels["app.kubernetes.io/component"]
        return {
            "kind": "Pod",
            "metadata": {
                "name": f"p{number}", "namespace": "team", "uid": f"u{number}", "resourceVersion": "1",
                "labels": labels, "annotations": {"kinema.dev/min-nodes": "2"},
                "ownerReferences": [{"uid": "job", "kind": "Job", "controller": True}],
            },
            "status": {
                "phase": "Running", "podIP": f"127.0.0.{number + 2}",
                "containerStatuses": [{"name": name, "state": {"running": {"startedAt": started}}}],
            },
        }  # fmt: skip

    async def look(self) -> Plan:
        obj = {"metadata": self.training.metadata.to_wire(), "spec": self.training.spec.to_wire()}
        obj["status"] = self.training.status.to_wire()
        seen = await self._controller.observe(KEY, self._controller.parse(obj), self._cache)
        return decide(View(self.training, seen, self.settings, utc_now()))


def suspects_a_failure(plan: Plan) -> bool:
    return "a failure is suspected" in message(plan, "Running")


@pytest.fixture
async def pods() -> AsyncIterator[Pods]:
    made = Pods()
    await made.start(2)
    yield made
    await made.stop()


@pytest.fixture
def life(pods: Pods, make_training: Any, settings: Settings, monkeypatch: Any) -> Life:
    training = make_training({"run": 1, "attempt": 1, "phase": "Training"}, elastic={"minNodes": 2, "maxNodes": 3})
    quick = settings.model_copy(update={"progress_interval_seconds": 0.0})
    return Life(training, quick, pods, monkeypatch)


def says(pods: Pods, at: int, clock: float, **fields: Any) -> None:
    """Both trainers answer, with the time of the newest step by a clock that is wrong by so many seconds."""
    pods.says(1, rank=1)
    told = {"run": 1, "attempt": 1, "round": 1, "rank": 0, "worldSize": 2, "step": at, "totalSteps": 800}
    told |= {"stepSeconds": 1.0, "lastStepTime": time.time() + clock} | fields
    pods.answers["127.0.0.2"] = json.dumps(told)


@pytest.mark.parametrize("clock", [-86_400, -180, 180])
@pytest.mark.parametrize("tells_ages", [True, False])
async def test_a_trainer_whose_clock_is_wrong_is_not_taken_for_stalled(
    life: Life, pods: Pods, clock: float, tells_ages: bool
) -> None:
    for step in (10, 20, 30):
        says(pods, step, clock, **({"stepAgeSeconds": 1.0} if tells_ages else {}))
        plan = await life.look()
        assert not suspects_a_failure(plan)
        progress = status_of(plan).progress
        assert progress is not None
        assert progress.step == step
        life.ahead += 100


@pytest.mark.parametrize("clock", [-86_400, 86_400])
@pytest.mark.parametrize("tells_ages", [True, False])
async def test_a_trainer_that_stands_still_is_found_whatever_its_clock_says(
    life: Life, pods: Pods, clock: float, tells_ages: bool
) -> None:
    says(pods, 10, clock, **({"stepAgeSeconds": 0.0} if tells_ages else {}))
    assert not suspects_a_failure(await life.look())
    life.ahead += LIMIT
    says(pods, 10, clock, **({"stepAgeSeconds": LIMIT} if tells_ages else {}))
    assert suspects_a_failure(await life.look())


async def test_a_group_that_never_forms_is_a_stall(life: Life, pods: Pods) -> None:
    pods.says(0, rank=-1, round=0, world_size=0)
    pods.says(1, rank=-1, round=0, world_size=0)
    assert not suspects_a_failure(await life.look())
    life.ahead += LIMIT
    assert suspects_a_failure(await life.look())


@pytest.mark.parametrize("from_the_beginning", [True, False])
async def test_the_silence_of_rank_zero_is_a_stall(life: Life, pods: Pods, from_the_beginning: bool) -> None:
    says(pods, 10, 0.0, stepAgeSeconds=1.0)
    if from_the_beginning:
        pods.answers["127.0.0.2"] = "no JSON"
    assert not suspects_a_failure(await life.look())
    pods.answers["127.0.0.2"] = "no JSON"
    life.ahead += LIMIT
    assert suspects_a_failure(await life.look())


async def test_a_silent_rendezvous_is_replaced_after_the_lease_that_trainers_tell(life: Life, pods: Pods) -> None:
    for silent, lost in ((10.0, False), (31.0, True)):
        for number in range(2):
            pods.says(number, rank=number, rendezvous_silent_seconds=silent, rendezvous_lease_seconds=30.0)
        plan = await life.look()
        assert [ref.uid for ref in plan.delete] == (["u2"] if lost else [])
        life.ahead += 2


async def test_a_question_that_is_missed_is_no_silence(life: Life, pods: Pods) -> None:
    says(pods, 10, 0.0, stepAgeSeconds=1.0)
    await life.look()
    pods.answers["127.0.0.2"] = "no JSON"
    life.ahead += 6
    status = status_of(await life.look())
    assert status.progress is not None
    assert (status.progress.step, status.nodes.ready) == (10, 2)


@pytest.mark.parametrize(
    "lie",
    [
        {"stepSeconds": 1e308},
        {"stepSeconds": float("inf")},
        {"stepSeconds": float("nan")},
        {"stepSeconds": -1},
        {"tokensPerSecond": float("inf")},
        {"step": 10**30},
        {"totalSteps": 10**30},
        {"worldSize": 10**30},
        {"stepAgeSeconds": float("nan")},
        {"rendezvousLeaseSeconds": float("inf")},
        {"rendezvousLeaseSeconds": 1e300},
        {"checkpoint": {"step": 5, "prefix": "x" * 5000, "digest": "sha256:" + "a" * 64, "time": 1.0}},
        {"checkpoint": {"step": 5, "prefix": "PREFIX", "digest": "none", "time": 1.0}},
        {"checkpoint": {"step": 5, "prefix": "PREFIX", "digest": "sha256:" + "a" * 64, "time": 1e300}},
        {"checkpoint": {"step": 5, "prefix": "PREFIX", "digest": "sha256:" + "a" * 64, "time": float("nan")}},
    ],
    ids=lambda lie: json.dumps(lie)[:60],
)
async def test_a_trainer_that_tells_what_cannot_be_breaks_no_look(life: Life, pods: Pods, lie: dict[str, Any]) -> None:
    if "checkpoint" in lie:
        prefix = "trainings/team/tiny-world/7a1f/run-001/attempt-001/step-00000005/round-0001/"
        told = lie["checkpoint"]["prefix"].replace("PREFIX", prefix)
        lie = {"checkpoint": {**lie["checkpoint"], "prefix": told if told == prefix else prefix + told}}
    says(pods, 10, 0.0, **lie)
    for seconds in (0, LIMIT):
        life.ahead += seconds
        plan = await life.look()
    assert plan.status is not None
    VideoModelTraining.parse(
        {
            "metadata": {"name": "t"},
            "spec": life.training.spec.to_wire(),
            "status": json.loads(json.dumps(plan.status.to_wire(), allow_nan=False)),
        }
    )
