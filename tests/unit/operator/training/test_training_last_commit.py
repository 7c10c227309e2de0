"""Trainers that are told to go commit a last time: what they need for that goes after them, whatever the occasion."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest

from kinema_operator.core.plan import Plan
from kinema_operator.training.observed import ExportSeen, Observed, PodEnd, ResumePoint, StorageProblem
from kinema_operator.training.plan import decide
from unit.operator.training.facts import (
    ATTEMPT,
    DIGEST,
    JOB,
    NO_EXPORT,
    STARTING,
    STORE,
    TRAINING,
    at_work,
    condition,
    message,
    status_of,
    trainer,
)

NEWEST = ATTEMPT + "step-00000077/round-0001/"
RESUME = ResumePoint(1, 1, NEWEST, 77)
LONG_AGO = "2026-03-01T11:00:00Z"
EXPORTED = ExportSeen(1, 1, digest=DIGEST, step=800)
OCCASIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "suspension": (TRAINING, {"suspend": True}),
    "suspension before the first step": (STARTING, {"suspend": True}),
    "a training that is suspended already": ({**TRAINING, "phase": "Suspended"}, {"suspend": True}),
    "the next attempt": ({**STARTING, "notBefore": LONG_AGO}, {}),
    "a remnant of an older attempt": ({**STARTING, "attempt": 2}, {}),
    "another run": ({**TRAINING, "runId": "a"}, {"runId": "b"}),
    "the end in failure": ({**TRAINING, "phase": "Failed"}, {}),
    "the end in success": ({**TRAINING, "phase": "Succeeded", "completionTime": LONG_AGO}, {}),
    "evaluation": (
        {
            **TRAINING,
            "phase": "Evaluating",
            "evaluation": {"modelDigest": DIGEST},
            "conditions": [
                {"type": "Evaluated", "status": "Unknown", "reason": "Evaluating", "lastTransitionTime": LONG_AGO}
            ],
        },
        {"evaluation": {}},
    ),
}


def facts(now: datetime, occasion: str, **changes: Any) -> Observed:
    export = EXPORTED if occasion == "evaluation" else NO_EXPORT
    return at_work(now, resume=RESUME, export=export, **changes)


def rendezvous_goes(plan: Plan) -> bool:
    return any(ref.uid == STORE.uid for ref in plan.delete)


@pytest.mark.parametrize("occasion", OCCASIONS)
def test_the_rendezvous_goes_only_after_the_last_trainer_that_could_still_commit(
    make_view: Any, now: datetime, occasion: str
) -> None:
    status, spec = OCCASIONS[occasion]
    leaving = trainer("b", now, deletion_time=now + timedelta(seconds=20))
    ended = trainer("a", now, PodEnd(exit_code=44, finished=now))
    for pods in ((trainer("a", now), trainer("b", now)), (ended, leaving)):
        seen = facts(now, occasion, pods=(STORE, *pods))
        assert not rendezvous_goes(decide(make_view(status, seen, **spec))), "a trainer could not commit any more"
    seen = facts(now, occasion, jobs=(), pods=(STORE, ended))
    assert rendezvous_goes(decide(make_view(status, seen, **spec))), "nobody needs it any more"


@pytest.mark.parametrize("occasion", OCCASIONS)
def test_a_trainer_on_a_dead_node_does_not_keep_the_rendezvous(make_view: Any, now: datetime, occasion: str) -> None:
    status, spec = OCCASIONS[occasion]
    stuck = trainer("b", now, deletion_time=now - timedelta(minutes=1))
    plan = decide(make_view(status, facts(now, occasion, jobs=(), pods=(STORE, stuck)), **spec))
    assert rendezvous_goes(plan)


def suspending(make_view: Any, seen: Observed, before: dict[str, Any] = TRAINING) -> Plan:
    return decide(make_view(before, seen, suspend=True))


def test_suspending_asks_the_trainers_first_and_says_suspended_when_they_are_gone(
    make_view: Any, now: datetime
) -> None:
    first = suspending(make_view, at_work(now))
    assert [ref.uid for ref in first.delete] == [JOB.uid], "SIGTERM to the trainers, and to nobody else"
    assert status_of(first).phase == "Training"
    assert condition(first, "Suspended") == ("False", "Suspending")
    assert "stopping at a step boundary" in message(first, "Running")
    leaving = [trainer(name, now, deletion_time=now + timedelta(seconds=20)) for name in "ab"]
    told = status_of(first).to_wire()
    second = suspending(make_view, at_work(now, jobs=(), pods=(STORE, *leaving)), told)
    assert condition(second, "Suspended") == ("False", "Suspending")
    assert "12:00:20" in message(second, "Suspended"), "how long it may last"
    assert second.events == (), "said once"
    gone = at_work(now, jobs=(), pods=(STORE,), resume=dataclasses.replace(RESUME, digest=DIGEST, time=now))
    last = suspending(make_view, gone, told)
    assert (status_of(last).phase, condition(last, "Suspended")) == ("Suspended", ("True", "Suspended"))
    assert "checkpoint of step 77" in message(last, "Suspended")
    newest = status_of(last).last_checkpoint
    assert newest is not None
    assert (newest.step, newest.uri, newest.digest) == (77, f"s3://kinema/{NEWEST}", DIGEST)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"resume": ResumePoint(1, 1, None)}, "starts from scratch"),
        ({"storage_problem": StorageProblem("StorageUnreachable", "the store is away")}, "the store is away"),
    ],
)
def test_a_suspended_training_says_what_it_goes_on_from(
    make_view: Any, now: datetime, found: dict[str, Any], sentence: str
) -> None:
    plan = suspending(make_view, at_work(now, jobs=(), pods=(STORE,), **found))
    assert status_of(plan).phase == "Suspended"
    assert sentence in message(plan, "Suspended")


def test_it_is_not_suspended_before_the_store_was_asked(make_view: Any, now: datetime) -> None:
    plan = suspending(make_view, at_work(now, jobs=(), pods=()))
    assert plan.status is None
    assert plan.requeue_after == 0


def test_a_trainer_whose_node_is_silent_is_named_while_suspending(make_view: Any, now: datetime) -> None:
    stuck = trainer("tiny-world-r1-a1-1", now, deletion_time=now - timedelta(minutes=1))
    plan = suspending(make_view, at_work(now, jobs=(), pods=(stuck,)))
    assert condition(plan, "Suspended") == ("False", "Suspending")
    assert "tiny-world-r1-a1-1" in message(plan, "Suspended")


def test_a_model_that_was_exported_while_stopping_is_published(make_view: Any, now: datetime) -> None:
    plan = suspending(make_view, at_work(now, jobs=(), pods=(), export=EXPORTED, resume=RESUME))
    assert status_of(plan).phase == "Publishing"


def test_credentials_of_trainers_that_stop_are_renewed(make_view: Any, now: datetime) -> None:
    plan = suspending(make_view, at_work(now, credentials_expire=now + timedelta(minutes=10)))
    assert [type(effect).__name__ for effect in plan.effects] == ["IssueCredentials"]
