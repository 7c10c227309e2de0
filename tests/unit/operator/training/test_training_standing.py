"""Conditions and lastCheckpoint say what is, not what was or will be."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest

from kinema_api.wire import CommittedCheckpoint, TrainerProgress
from kinema_operator.training.observed import ResumePoint
from kinema_operator.training.plan import decide
from unit.operator.training.facts import (
    ATTEMPT,
    DIGEST,
    JOB,
    STARTING,
    STORE,
    TRAINING,
    at_work,
    condition,
    message,
    status_of,
    trainer,
)

FIXED = {"elastic": None, "nodes": 2}
TORN = {
    "step": 100,
    "uri": f"s3://kinema/{ATTEMPT}step-00000100/round-0001/",
    "digest": "sha256:" + "c" * 64,
    "time": "2026-03-01T11:00:00Z",
}


def group(nodes: int, **fields: Any) -> TrainerProgress:
    told = {"run": 1, "attempt": 1, "round": 1, "rank": 0, "world_size": nodes, "nodes": nodes, "step": 9} | fields
    return TrainerProgress(**told)


def test_below_min_nodes_it_is_not_running_and_says_which_pod_is_away(make_view: Any, now: datetime) -> None:
    away = trainer("tiny-world-r1-a1-1", now, deletion_time=now - timedelta(minutes=5))
    seen = at_work(now, pods=(STORE, trainer("a", now), away), progress=group(1))
    plan = decide(make_view(TRAINING, seen, **FIXED))
    assert condition(plan, "Running") == ("False", "TooFewNodes")
    assert "1 of at least 2 trainers are running" in message(plan, "Running")
    assert "tiny-world-r1-a1-1" in message(plan, "Running")


def test_the_node_that_is_away_is_named_with_what_is_wrong_with_it(make_view: Any, now: datetime) -> None:
    away = trainer("b", now, node="worker-2", trouble="unreachable", silent=True, deletion_time=now)
    plan = decide(make_view(TRAINING, at_work(now, pods=(STORE, trainer("a", now), away)), **FIXED))
    assert "node worker-2 is unreachable" in message(plan, "Running")


def test_a_pod_that_finds_no_place_is_named_with_the_schedulers_reason(make_view: Any, now: datetime) -> None:
    waits = trainer("b", now, phase="Pending", started=None, waiting="0/3 nodes are available: 3 Insufficient cpu.")
    plan = decide(make_view(TRAINING, at_work(now, pods=(STORE, trainer("a", now), waits), progress=group(1)), **FIXED))
    assert condition(plan, "Running")[0] == "False"
    assert "b: 0/3 nodes are available: 3 Insufficient cpu." in message(plan, "Running")


def test_more_nodes_than_asked_for_are_told_as_a_resize(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(TRAINING, at_work(now, progress=group(2)), nodes=1))
    assert "2 of 1" not in message(plan, "Running")
    assert condition(plan, "Running") == ("True", "Resizing")


@pytest.mark.parametrize("store", [None, {"phase": "Pending"}, {"deletion_time": timedelta(seconds=2)}])
def test_without_a_rendezvous_it_is_not_running(make_view: Any, now: datetime, store: dict[str, Any] | None) -> None:
    fields = {k: now + v if isinstance(v, timedelta) else v for k, v in (store or {}).items()}
    pods = () if store is None else (dataclasses.replace(STORE, **fields),)
    before = {**TRAINING, "nodes": {"desired": 2, "ready": 2}}
    for progress in (None, group(2)):
        seen = at_work(now, pods=(*pods, trainer("a", now), trainer("b", now)), progress=progress)
        plan = decide(make_view(before, seen))
        assert condition(plan, "Running") == ("False", "NoRendezvous")


def test_a_rendezvous_that_is_replaced_is_told_for_as_long_as_its_pod_is_there(make_view: Any, now: datetime) -> None:
    old = dataclasses.replace(STORE, node="n1", deleted=now - timedelta(seconds=90), deletion_time=now)
    new = dataclasses.replace(STORE, name=f"{STORE.name}-2", uid="store-2", node="n2")
    said = f"rendezvous {STORE.name} on node n1 is being replaced (since 2026-03-01T11:58:30Z)"
    trainers = (trainer("a", now), trainer("b", now))
    for stores, progress, reason in (
        ((old,), None, "NoRendezvous"),
        ((old, new), None, "FormingGroup"),
        ((old, new), group(2), "Training"),
    ):
        plan = decide(make_view(TRAINING, at_work(now, pods=(*stores, *trainers), progress=progress)))
        assert condition(plan, "Running")[1] == reason
        assert message(plan, "Running").count(STORE.name) == 1
        assert message(plan, "Running").endswith(said)
    for stores in ((new,), (dataclasses.replace(old, phase="Failed"), new)):
        plan = decide(make_view(TRAINING, at_work(now, pods=(*stores, *trainers), progress=group(2))))
        assert message(plan, "Running") == "2 of 2 nodes are training"


def test_nodes_that_nobody_speaks_for_are_not_told_to_train(make_view: Any, now: datetime) -> None:
    before = {**TRAINING, "nodes": {"desired": 2, "ready": 2}}
    plan = decide(make_view(before, at_work(now)))
    assert condition(plan, "Running") == ("False", "FormingGroup")
    assert status_of(plan).nodes.ready == 0


def test_several_workers_of_a_node_are_one_node(make_view: Any, now: datetime) -> None:
    three = (STORE, trainer("a", now), trainer("b", now), trainer("c", now))
    job = dataclasses.replace(JOB, parallelism=3)
    seen = at_work(now, jobs=(job,), pods=three, progress=group(2, world_size=16))
    assert status_of(decide(make_view(TRAINING, seen, nodes=3))).nodes.ready == 2


def test_a_checkpoint_that_is_torn_is_not_told_any_more_when_nothing_else_is_left(
    make_view: Any, now: datetime
) -> None:
    waits = {"run": 1, "attempt": 1, "phase": "Pending", "notBefore": now.isoformat(), "lastCheckpoint": TORN}
    seen = at_work(now, jobs=(), pods=(), resume=ResumePoint(1, 1, None, 0, ("torn/",)))
    status = status_of(decide(make_view(waits, seen)))
    assert (status.attempt, status.last_checkpoint) == (2, None)


def test_the_next_attempt_tells_the_whole_checkpoint_that_it_starts_from(make_view: Any, now: datetime) -> None:
    waits = {"run": 1, "attempt": 1, "phase": "Pending", "notBefore": now.isoformat(), "lastCheckpoint": TORN}
    whole = ResumePoint(1, 1, ATTEMPT + "step-00000050/round-0001/", 50, ("torn/",), DIGEST, now)
    status = status_of(decide(make_view(waits, at_work(now, jobs=(), pods=(), resume=whole))))
    assert status.last_checkpoint is not None
    assert (status.last_checkpoint.step, status.last_checkpoint.digest) == (50, DIGEST)


def test_the_checkpoint_that_a_round_went_back_to_is_told(make_view: Any, now: datetime) -> None:
    """Of the attempt before: this attempt's only one is torn."""
    before = {"run": 1, "attempt": 2, "phase": "Training", "lastCheckpoint": TORN}
    older = CommittedCheckpoint(step=50, prefix=ATTEMPT + "step-00000050/round-0001/", digest=DIGEST, time=1.5e9)
    pods = [dataclasses.replace(pod, attempt=2) for pod in (STORE, trainer("a", now), trainer("b", now))]
    job = dataclasses.replace(JOB, attempt=2)
    told = group(2, attempt=2, checkpoint=older, step_age_seconds=1.0)
    seen = at_work(now, jobs=(job,), pods=tuple(pods), progress=told)
    status = status_of(decide(make_view(before, seen)))
    assert status.last_checkpoint is not None
    assert status.last_checkpoint.step == 50
    seen = dataclasses.replace(seen, progress=told.model_copy(update={"checkpoint": None}))
    assert status_of(decide(make_view(before, seen))).last_checkpoint is None, "a round that started from scratch"


def test_pods_that_are_not_made_yet_are_no_news_of_a_job_that_was_just_made(make_view: Any, now: datetime) -> None:
    starting = {
        **STARTING,
        "conditions": [
            {"type": "Running", "status": "False", "reason": "Starting", "lastTransitionTime": "2026-03-01T11:00:00Z"}
        ],
    }

    def looked_at(seconds: float) -> Any:
        made = dataclasses.replace(JOB, created=now - timedelta(seconds=seconds))
        return decide(make_view(starting, at_work(now, jobs=(made,), pods=(STORE,))))

    young, old = looked_at(10), looked_at(31)
    assert condition(young, "Running") == ("False", "Starting")
    assert young.requeue_after == 20, "it is told when they are late"
    assert condition(old, "Running") == ("False", "WaitingForPods")
    assert "2 pods are not created yet" in message(old, "Running")
