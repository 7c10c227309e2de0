"""Objects as the API server has them, read into facts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from kinema_operator.training.failure import classify
from kinema_operator.training.read import read_job, read_pod

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
        )
    )
    assert not leaving.running
    assert leaving.deletion_time == datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


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
