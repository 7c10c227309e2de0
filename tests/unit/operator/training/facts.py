"""Facts that the tests of a training's plan share: what is seen of an attempt at work, and readings of a plan."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

from kinema_api import names
from kinema_api.base import find_condition
from kinema_api.training_status import VideoModelTrainingStatus
from kinema_api.wire import TerminationMessage
from kinema_operator.core.plan import Plan
from kinema_operator.training.observed import (
    ExportSeen,
    JobSeen,
    Observed,
    PodEnd,
    PodSeen,
)

DIGEST = "sha256:" + "a" * 64
ATTEMPT = "trainings/team/tiny-world/7a1f/run-001/attempt-001/"
JOB = JobSeen("tiny-world-r1-a1", "job-1", "77", 1, 1, parallelism=2)
STORE = PodSeen("tiny-world-r1-a1-store", "store-1", names.COMPONENT_STORE, 1, 1, phase="Running", min_nodes=1)


def trainer(name: str, now: datetime, end: PodEnd | None = None, **fields: Any) -> PodSeen:
    given = {"phase": "Failed" if end else "Running", "started": now - timedelta(minutes=1)} | fields
    return PodSeen(name=name, uid=name, component=names.COMPONENT_TRAINER, run=1, attempt=1, end=end, **given)


def at_work(now: datetime, **changes: Any) -> Observed:
    """Both trainers run, and everything else is there."""
    seen = Observed(
        jobs=(JOB,),
        pods=(STORE, trainer("a", now), trainer("b", now)),
        credentials_expire=now + timedelta(hours=1),
    )
    return dataclasses.replace(seen, **changes)


def failed(now: datetime, code: int, word: TerminationMessage | None = None, **changes: Any) -> Observed:
    pods = (STORE, trainer("a", now), trainer("b", now, PodEnd(exit_code=code, word=word, finished=now)))
    return at_work(now, pods=pods, **changes)


def status_of(plan: Plan) -> VideoModelTrainingStatus:
    assert isinstance(plan.status, VideoModelTrainingStatus)
    return plan.status


def condition(plan: Plan, type_: str) -> tuple[str, str]:
    found = find_condition(status_of(plan).conditions, type_)
    return (found.status, found.reason) if found else ("", "")


def message(plan: Plan, type_: str) -> str:
    found = find_condition(status_of(plan).conditions, type_)
    return found.message if found else ""


def made(plan: Plan) -> set[tuple[str, str]]:
    return {(a.manifest["kind"], a.manifest["metadata"]["name"]) for a in plan.apply}


TRAINING = {"run": 1, "attempt": 1, "phase": "Training"}
STARTING = {"run": 1, "attempt": 1, "phase": "Pending"}
NO_EXPORT = ExportSeen(1, 1)
