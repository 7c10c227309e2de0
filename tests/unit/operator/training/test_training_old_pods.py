"""An attempt begins when nothing of the one before can write any more, whatever has become of its Job."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from kinema_api.training import VideoModelTraining
from kinema_operator.core.plan import Key
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import store_location
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.training import children
from kinema_operator.training.controller import TrainingController
from kinema_operator.training.objects.job import job
from kinema_operator.training.observed import Observed, PodEnd, PodSeen, ResumePoint
from kinema_operator.training.plan import decide
from unit.operator.training.facts import ATTEMPT, STORE, condition, message, status_of, trainer

RESUME = ResumePoint(1, 1, ATTEMPT + "step-00000100/round-0001/", 100)
BETWEEN = {"run": 1, "attempt": 1, "phase": "Pending", "notBefore": "2026-03-01T11:00:00Z"}


def pod_of(training: VideoModelTraining, settings: Settings, job_uid: str, **labels: str) -> dict[str, Any]:
    """A running trainer as the Job controller makes it of this training's Job."""
    config, app = children.describe_attempt(training, store_location(None, settings), settings)
    made = job(training, app, config, 2, settings)
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": made["metadata"]["name"], "uid": job_uid}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{made['metadata']['name']}-0-abcde",
            "namespace": "team",
            "uid": "pod-1",
            "resourceVersion": "5",
            "labels": {**made["spec"]["template"]["metadata"]["labels"], **labels},
            "ownerReferences": [{**owner, "controller": True}],
        },
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": "trainer", "state": {"running": {"startedAt": "2026-03-01T11:00:00Z"}}}],
        },
    }


class NoSecrets:
    async def get(self, kind: str, namespace: str, name: str) -> None:
        return None


async def seen_of(training: VideoModelTraining, settings: Settings, *objects: dict[str, Any]) -> Observed:
    cache = ObjectCache(lambda _: None)
    for kind in ("Job", "Pod"):
        cache.watch_kind(kind, {})
        cache.replace(kind, [obj for obj in objects if obj["kind"] == kind], 10)
    controller = TrainingController(settings, NoSecrets(), None, 1)  # type: ignore[arg-type]
    obj = {name: getattr(training, name).to_wire() for name in ("metadata", "spec", "status")}
    seen = await controller.observe(Key("VideoModelTraining", "team", "tiny-world"), controller.parse(obj), cache)
    assert seen is not None
    return seen


async def test_a_pod_is_seen_after_its_job_is_gone(make_training: Any, settings: Settings) -> None:
    training = make_training({"run": 1, "attempt": 1, "phase": "Suspended"})
    seen = await seen_of(training, settings, pod_of(training, settings, "job-that-is-gone"))
    assert [pod.name for pod in seen.pods] == ["tiny-world-r1-a1-0-abcde"]


async def test_a_pod_that_an_older_operator_made_is_seen_after_its_job_is_gone(
    make_training: Any, settings: Settings
) -> None:
    training = make_training({"run": 1, "attempt": 1, "phase": "Suspended"})
    pod = pod_of(training, settings, "job-that-is-gone")
    pod["metadata"]["labels"].pop("kinema.dev/training-uid", None)
    assert [pod.uid for pod in (await seen_of(training, settings, pod)).pods] == ["pod-1"]


async def test_pods_of_another_training_that_had_this_name_are_not_taken_for_its_own(
    make_training: Any, settings: Settings
) -> None:
    training = make_training({"run": 1, "attempt": 1, "phase": "Suspended"})
    others = {"kinema.dev/training-uid": "another"}
    assert (await seen_of(training, settings, pod_of(training, settings, "job-x", **others))).pods == ()
    labelled = pod_of(training, settings, "job-x", **others)
    del labelled["metadata"]["labels"]["kinema.dev/training-uid"]
    labelled["metadata"]["ownerReferences"][0]["kind"] = "ReplicaSet"
    assert (await seen_of(training, settings, labelled)).pods == ()


OLD_TRAINERS = {
    "it trains on": {},
    "it is being deleted": {"deletion_time": timedelta(seconds=10)},
    "it stands on a node that does not answer": {"deletion_time": timedelta(minutes=-10)},
    "it has not started yet": {"phase": "Pending", "started": None},
}


@pytest.mark.parametrize("case", OLD_TRAINERS)
def test_no_attempt_begins_beside_a_trainer_of_the_one_before(make_view: Any, now: datetime, case: str) -> None:
    fields = {k: now + v if isinstance(v, timedelta) else v for k, v in OLD_TRAINERS[case].items()}
    old = trainer("tiny-world-r1-a1-0", now, **fields)
    plan = decide(make_view(BETWEEN, Observed(pods=(STORE, old), resume=RESUME)))
    assert status_of(plan).attempt == 1, "its resume point would be fixed while the old trainer still commits"
    assert condition(plan, "Running") == ("False", "OldPodsRemain")
    assert "tiny-world-r1-a1-0" in message(plan, "Running")
    assert plan.requeue_after is not None


ENDED = {
    "the kubelet says that it has ended": {"phase": "Succeeded"},
    "it was declared failed because its node is dead": {"phase": "Failed", "deletion_time": timedelta(minutes=-10)},
}


@pytest.mark.parametrize("case", ENDED)
def test_an_attempt_begins_when_the_old_trainers_have_ended(make_view: Any, now: datetime, case: str) -> None:
    fields = {k: now + v if isinstance(v, timedelta) else v for k, v in ENDED[case].items()}
    old = trainer("a", now, **fields)
    assert status_of(decide(make_view(BETWEEN, Observed(pods=(old,), resume=RESUME)))).attempt == 2
    injected = trainer("a", now, PodEnd(exit_code=43, finished=now), phase="Running")
    plan = decide(make_view(BETWEEN, Observed(pods=(injected,), resume=RESUME)))
    assert status_of(plan).attempt == 2, "only a container beside the trainer's is left"


def test_a_node_that_keeps_silent_is_named_with_what_helps(make_view: Any, now: datetime) -> None:
    stuck = PodSeen(
        "p", "p", "trainer", 1, 1, phase="Running", started=now, deletion_time=now - timedelta(hours=1), node="worker-2"
    )
    told = message(decide(make_view(BETWEEN, Observed(pods=(stuck,), resume=RESUME))), "Running")
    assert "p on node worker-2" in told
    assert "delete its Node object" in told
