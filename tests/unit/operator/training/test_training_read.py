"""Objects as the API server has them, read into facts."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from kinema_operator.training.failure import classify
from kinema_operator.training.plan import decide
from kinema_operator.training.read import read_job, read_pod
from unit.operator.training.facts import (
    NO_EXPORT,
    STARTING,
    STORE,
    TRAINING,
    at_work,
    condition,
    message,
    trainer,
)

LABELS = {"kinema.dev/run": "2", "kinema.dev/attempt": "3", "app.kubernetes.io/component": "trainer"}


def pod(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "uid": "u", "labels": LABELS, **metadata}, "status": status}


def state(**kinds: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "trainer", "state": kinds}]}


def test_a_running_pod() -> None:
    seen = read_pod(pod({"phase": "Running", **state(running={"startedAt": "2026-03-01T12:00:00Z"})}))
    assert (seen.run, seen.attempt, seen.component) == (2, 3, "trainer")
    assert seen.started == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert seen.running
    leaving = read_pod(
        pod(
            {"phase": "Running", **state(running={"startedAt": "2026-03-01T12:00:00Z"})},
            deletionTimestamp="2026-03-01T12:00:30Z",
            deletionGracePeriodSeconds=30,
        )
    )
    assert not leaving.running
    assert leaving.deletion_time == datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
    assert leaving.deleted == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert seen.deleted is None


def test_a_last_word_is_read_from_the_termination_message() -> None:
    word = json.dumps({"failureClass": "numerics", "message": "loss is NaN at step 7", "step": 7})
    ended = {"exitCode": 41, "reason": "Error", "message": word, "finishedAt": "2026-03-01T12:00:00Z"}
    seen = read_pod(pod({"phase": "Failed", **state(terminated=ended)}))
    assert seen.end is not None
    assert seen.end.word is not None
    assert seen.end.word.message == "loss is NaN at step 7"
    assert classify(seen.end) == "numerics"


def test_without_a_word_the_last_line_speaks() -> None:
    ended = {"exitCode": 1, "reason": "Error", "message": "Traceback ...\nImportError: no module named torch\n"}
    seen = read_pod(pod({"phase": "Failed", **state(terminated=ended)}))
    assert seen.end is not None
    assert seen.end.message == "ImportError: no module named torch"


def test_an_eviction_and_a_disruption_are_read() -> None:
    evicted = read_pod(pod({"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory"}))
    assert evicted.end is not None
    assert classify(evicted.end) == "preemption"
    conditions = [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}]
    lost = read_pod(pod({"phase": "Failed", "conditions": conditions, **state(terminated={"exitCode": 137})}))
    assert lost.end is not None
    assert classify(lost.end) == "preemption"


def test_why_a_pod_waits() -> None:
    unscheduled = [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]
    assert read_pod(pod({"phase": "Pending", "conditions": unscheduled})).waiting == "0/3 nodes are available"
    pulling = state(waiting={"reason": "ImagePullBackOff", "message": "no such image"})
    assert read_pod(pod({"phase": "Pending", **pulling})).waiting == "ImagePullBackOff: no such image"
    assert read_pod(pod({"phase": "Pending", **state(waiting={"reason": "ContainerCreating"})})).waiting == ""
    assert read_pod(pod({})).phase == "Pending"


def test_the_end_of_a_job() -> None:
    conditions = [
        {"type": "FailureTarget", "status": "True", "message": "target"},
        {"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "exit code 2"},
    ]
    metadata = {"name": "j", "uid": "u", "resourceVersion": "9", "labels": LABELS}
    seen = read_job({"metadata": metadata, "spec": {"parallelism": 3}, "status": {"conditions": conditions}})
    assert (seen.finished, seen.message, seen.parallelism, seen.deleting) == ("Failed", "exit code 2", 3, False)
    assert read_job({"metadata": {**metadata, "deletionTimestamp": "x"}, "spec": {}}).deleting


SIDECAR = {"name": "istio-proxy", "state": {"running": {"startedAt": "2026-03-01T11:59:00Z"}}}


@pytest.mark.parametrize("place", ["before", "behind"])
def test_the_trainers_end_is_read_beside_an_injected_container(place: str) -> None:
    word = json.dumps({"failureClass": "numerics", "message": "loss is NaN at step 7", "step": 7})
    ended = {"exitCode": 41, "message": word, "startedAt": "2026-03-01T11:59:30Z", "finishedAt": "2026-03-01T12:00:00Z"}
    own = {"name": "trainer", "state": {"terminated": ended}}
    statuses = [SIDECAR, own] if place == "before" else [own, SIDECAR]
    seen = read_pod(pod({"phase": "Running", "containerStatuses": statuses}))
    assert seen.end is not None
    assert seen.end.word is not None
    assert (seen.end.word.failure_class, seen.end.exit_code) == ("numerics", 41)
    assert seen.started == datetime(2026, 3, 1, 11, 59, 30, tzinfo=UTC)
    assert not seen.running, "what runs is not the trainer"


def test_a_sidecar_that_ends_is_not_the_trainers_end() -> None:
    gone = {"name": "istio-proxy", "state": {"terminated": {"exitCode": 1}}}
    own = {"name": "trainer", "state": {"running": {"startedAt": "2026-03-01T12:00:00Z"}}}
    seen = read_pod(pod({"phase": "Running", "containerStatuses": [gone, own]}))
    assert seen.end is None
    assert seen.running


@pytest.mark.parametrize("kind", ["initContainerStatuses", "containerStatuses"])
def test_an_injected_container_that_holds_the_trainer_up_is_named(kind: str) -> None:
    stuck = {"name": "istio-init", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    own = {"name": "trainer", "state": {"waiting": {"reason": "PodInitializing"}}}
    status: dict[str, Any] = {"phase": "Pending", "containerStatuses": [own]}
    status[kind] = [*status.get(kind, []), stuck]
    assert read_pod(pod(status)).waiting == "container istio-init: ImagePullBackOff: no such image"


def test_a_dead_trainer_kept_by_a_sidecar_makes_room_for_its_replacement(make_view: Any, now: datetime) -> None:
    ended = {"exitCode": 1, "startedAt": "2026-03-01T11:50:00Z", "finishedAt": "2026-03-01T11:58:00Z"}
    own = {"name": "trainer", "state": {"terminated": ended}}
    held = dataclasses.replace(
        read_pod(pod({"phase": "Running", "containerStatuses": [SIDECAR, own]})), run=1, attempt=1
    )
    plan = decide(make_view(TRAINING, at_work(now, pods=(STORE, trainer("a", now), held), export=NO_EXPORT)))
    assert [ref.uid for ref in plan.delete] == ["u"], "else the Job would never make another one"


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [({"kueue.x-k8s.io/queue-name": "gpus"}, "from the queue gpus"), ({}, "suspended, so it creates no pods")],
)
def test_a_job_that_kueue_has_suspended_is_told(
    make_view: Any, now: datetime, labels: dict[str, str], sentence: str
) -> None:
    metadata = {"name": "j", "uid": "u", "resourceVersion": "9", "labels": LABELS | labels}
    waits = dataclasses.replace(
        read_job({"metadata": metadata, "spec": {"parallelism": 2, "suspend": True}}), run=1, attempt=1
    )
    plan = decide(make_view(STARTING, at_work(now, jobs=(waits,), pods=(STORE,))))
    assert condition(plan, "Running") == ("False", "JobSuspended")
    assert sentence in message(plan, "Running")
