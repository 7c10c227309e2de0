"""What is decided between attempts, at the end of a run and at the start of the next, case by case."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest

from kinema_api import names
from kinema_api.wire import EXPORT_BROKEN_EXIT
from kinema_operator.core.plan import Plan
from kinema_operator.training.effects import IssueCredentials
from kinema_operator.training.observed import (
    ExportSeen,
    JobSeen,
    Observed,
    PodEnd,
    PodSeen,
    ResumePoint,
    StorageProblem,
)
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
    failed,
    made,
    message,
    status_of,
)

# Between attempts


def waiting(now: datetime, seconds: float = -1, **changes: Any) -> dict[str, Any]:
    return {
        "run": 1, "attempt": 1, "phase": "Pending", "notBefore": (now + timedelta(seconds=seconds)).isoformat(),
    } | changes  # fmt: skip


def test_the_old_attempt_is_removed_and_its_job_waited_for(make_view: Any, now: datetime) -> None:
    resume = ResumePoint(1, 1, ATTEMPT + "step-00000100/round-0001/", 100)
    plan = decide(make_view(waiting(now), at_work(now, resume=resume)))
    assert {(ref.kind, ref.uid) for ref in plan.delete} == {("Job", "job-1")}
    assert status_of(plan).attempt == 1
    lingers = at_work(now, jobs=(dataclasses.replace(JOB, deleting=True),), resume=resume)
    plan = decide(make_view(waiting(now), lingers))
    assert status_of(plan).attempt == 1, "its pods could still write beside the next attempt's"
    assert "Job" not in {ref.kind for ref in plan.delete}


def test_the_next_attempt_resumes_from_what_was_found(make_view: Any, now: datetime) -> None:
    prefix = ATTEMPT + "step-00000100/round-0001/"
    resume = ResumePoint(1, 1, prefix, 100, passed_over=("torn/",))
    plan = decide(make_view(waiting(now), Observed(resume=resume)))
    status = status_of(plan)
    assert (status.attempt, status.resume_from, status.not_before) == (2, f"s3://kinema/{prefix}", None)
    assert [event.reason for event in plan.events] == ["AttemptStarted", "CheckpointPassedOver"]
    assert plan.apply == ()


def test_backoff_is_waited_out(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(waiting(now, 40), Observed(resume=ResumePoint(1, 1, None))))
    assert status_of(plan).attempt == 1
    assert plan.requeue_after == 40


def test_a_resume_point_of_another_attempt_is_not_used(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(waiting(now, attempt=2), Observed(resume=ResumePoint(1, 1, None))))
    assert status_of(plan).attempt == 2


# Suspension


@pytest.mark.parametrize("before", [{}, STARTING, TRAINING])
def test_suspending_what_does_not_run(make_view: Any, now: datetime, before: dict[str, Any]) -> None:
    seen = at_work(now, jobs=(), pods=(), resume=ResumePoint(1, 1, None)) if before else None
    plan = decide(make_view(before, seen, suspend=True))
    assert status_of(plan).phase == "Suspended"
    assert condition(plan, "Suspended") == ("True", "Suspended")
    assert plan.apply == ()


def test_a_suspended_training_keeps_no_pods_and_goes_on_as_the_next_attempt(make_view: Any, now: datetime) -> None:
    suspended = {"run": 1, "attempt": 1, "phase": "Suspended"}
    plan = decide(make_view(suspended, at_work(now, pods=(STORE,)), suspend=True))
    assert {(ref.kind, ref.uid) for ref in plan.delete} == {("Job", "job-1"), ("Pod", "store-1")}
    plan = decide(make_view(suspended, Observed()))
    status = status_of(plan)
    assert (status.phase, status.not_before) == ("Pending", now)
    assert condition(plan, "Suspended") == ("False", "Resumed")
    plan = decide(make_view(status.to_wire(), Observed(resume=ResumePoint(1, 1, None))))
    assert status_of(plan).attempt == 2


# Done


@pytest.mark.parametrize("suspend", [False, True])
@pytest.mark.parametrize("code", [0, 2, 137])
def test_a_committed_export_is_the_end_whatever_else_is_seen(
    make_view: Any, now: datetime, code: int, suspend: bool
) -> None:
    export = ExportSeen(1, 1, digest=DIGEST, step=800)
    plan = decide(make_view(TRAINING, failed(now, code, export=export), suspend=suspend))
    status = status_of(plan)
    assert status.phase == "Publishing"
    assert status.progress is not None
    assert (status.progress.step, status.progress.total_steps, status.progress.eta_seconds) == (800, 800, 0)


def test_an_export_of_an_older_attempt_counts_for_nothing(make_view: Any, now: datetime) -> None:
    plan = decide(make_view({**TRAINING, "attempt": 2}, at_work(now, export=ExportSeen(1, 1, digest=DIGEST))))
    assert status_of(plan).phase != "Publishing"


PUBLISHING = {"run": 1, "attempt": 1, "phase": "Publishing"}


EXPORT = ExportSeen(1, 1, digest=DIGEST)
COPYING = JobSeen(
    "tiny-world-r1-a1-publish", "job-p", "79", 1, 1, parallelism=1, component=names.COMPONENT_PUBLISHER,
    model=names.short_digest(DIGEST),
)  # fmt: skip


def publisher(now: datetime, code: int, message: str = "") -> PodSeen:
    end = PodEnd(exit_code=code, message=message, finished=now)
    return PodSeen("p", "pod-p", names.COMPONENT_PUBLISHER, 1, 1, phase="Failed", started=now, end=end)


def test_a_model_is_checked_and_copied_by_a_pod_with_keys_of_its_own(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(PUBLISHING, at_work(now, export=EXPORT, credentials_expire=None)))
    assert (plan.effects, plan.apply) == ((IssueCredentials(DIGEST),), ()), "keys first"
    plan = decide(make_view(PUBLISHING, at_work(now, export=EXPORT)))
    assert ("Job", "tiny-world-r1-a1-publish") in made(plan)
    (job,) = [apply.manifest for apply in plan.apply if apply.once]
    pod = job["spec"]["template"]["spec"]
    secrets = [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
    assert secrets == ["tiny-world.publication-storage"]
    assert all(not isinstance(effect, IssueCredentials) for effect in plan.effects)
    plan = decide(make_view(PUBLISHING, at_work(now, jobs=(COPYING,), export=EXPORT)))
    assert (plan.apply, plan.delete, status_of(plan).phase) == ((), (), "Publishing")
    assert plan.requeue_after is not None
    assert plan.requeue_after > 60, "the pod is heard of through the watch"


def test_keys_are_renewed_while_a_large_model_is_copied(make_view: Any, now: datetime) -> None:
    late = at_work(now, jobs=(COPYING,), export=EXPORT, credentials_expire=now + timedelta(minutes=20))
    assert decide(make_view(PUBLISHING, late)).effects == (IssueCredentials(DIGEST),)


def test_a_publication_that_failed_is_tried_again(make_view: Any, now: datetime) -> None:
    ended = dataclasses.replace(COPYING, finished="Failed", message="backoff limit reached")
    seen = at_work(now, jobs=(ended,), pods=(publisher(now, 43, "the store was away"),), export=EXPORT)
    plan = decide(make_view(PUBLISHING, seen))
    assert [ref.uid for ref in plan.delete] == ["job-p"]
    assert condition(plan, "Running") == ("True", "PublishingFailed")
    assert "the store was away" in message(plan, "Running")


def test_the_publication_of_a_model_that_was_exported_anew_is_replaced(make_view: Any, now: datetime) -> None:
    old = dataclasses.replace(COPYING, model="0123456789ab")
    plan = decide(make_view(PUBLISHING, at_work(now, jobs=(old,), export=EXPORT)))
    assert [ref.uid for ref in plan.delete] == ["job-p"]
    assert ("Job", "tiny-world-r1-a1-publish") in made(plan)


def test_an_export_that_its_publisher_finds_broken_is_made_again(make_view: Any, now: datetime) -> None:
    ended = dataclasses.replace(COPYING, finished="Failed")
    pods = (publisher(now, EXPORT_BROKEN_EXIT, "model.safetensors does not have the sha256 of its manifest"),)
    plan = decide(make_view(PUBLISHING, at_work(now, jobs=(ended,), pods=pods, export=EXPORT)))
    assert (status_of(plan).phase, status_of(plan).restarts) == ("Pending", {"network": 1})
    assert "sha256" in message(plan, "Running")


@pytest.mark.parametrize(("exists", "expected"), [(False, {("VideoModel", "tiny-world")}), (True, set())])
def test_a_published_model_ends_the_run(make_view: Any, now: datetime, exists: bool, expected: set[Any]) -> None:
    export = ExportSeen(1, 1, digest=DIGEST, published=True)
    plan = decide(make_view(PUBLISHING, at_work(now, export=export, model_exists=exists)))
    status = status_of(plan)
    assert status.phase == "Succeeded"
    assert status.published is not None
    assert (status.published.digest, status.published.uri) == (DIGEST, f"s3://kinema/models/{'a' * 64}/")
    assert condition(plan, "Succeeded") == ("True", "Published")
    assert made(plan) == expected
    assert all(a.once for a in plan.apply)


def test_without_publish_no_model_is_made(make_view: Any, now: datetime) -> None:
    export = ExportSeen(1, 1, digest=DIGEST, published=True)
    plan = decide(make_view(PUBLISHING, at_work(now, export=export), publish=None))
    assert status_of(plan).published is not None
    assert plan.apply == ()


def test_a_broken_export_is_made_again_by_another_attempt(make_view: Any, now: datetime) -> None:
    export = ExportSeen(1, 1, problem="model.safetensors does not have the sha256 of its manifest")
    plan = decide(make_view(PUBLISHING, at_work(now, export=export)))
    assert (status_of(plan).phase, status_of(plan).restarts) == ("Pending", {"network": 1})
    assert "sha256" in message(plan, "Running")


def test_publishing_outlives_an_outage(make_view: Any, now: datetime) -> None:
    away = StorageProblem("StorageUnreachable", "the store does not answer")
    plan = decide(make_view(PUBLISHING, at_work(now, storage_problem=away)))
    assert (status_of(plan).phase, plan.effects) == ("Publishing", ())
    assert condition(plan, "Running") == ("True", "StorageUnreachable")


def test_leftovers_may_end_by_themselves_and_are_then_removed(make_view: Any, now: datetime) -> None:
    def succeeded(seconds_ago: float) -> dict[str, Any]:
        done = now - timedelta(seconds=seconds_ago)
        return {"run": 1, "attempt": 1, "phase": "Succeeded", "completionTime": done.isoformat()}

    plan = decide(make_view(succeeded(10), at_work(now)))
    assert plan.delete == ()
    assert plan.requeue_after == 20
    plan = decide(make_view(succeeded(31), at_work(now)))
    assert {ref.kind for ref in plan.delete} == {"Job"}
    complete = at_work(now, jobs=(dataclasses.replace(JOB, finished="Complete"),), pods=(STORE,))
    plan = decide(make_view(succeeded(10), complete))
    assert {ref.kind for ref in plan.delete} == {"Pod"}, "a finished Job keeps its logs"


def test_a_failed_run_leaves_nothing_running(make_view: Any, now: datetime) -> None:
    plan = decide(make_view({"run": 1, "attempt": 1, "phase": "Failed"}, at_work(now, pods=(STORE,))))
    assert {ref.kind for ref in plan.delete} == {"Job", "Pod"}


# The next run


@pytest.mark.parametrize(
    ("phase", "expected"), [("Succeeded", "Succeeded"), ("Failed", "Failed"), ("Training", "Superseded")]
)
def test_a_new_run_id_starts_the_next_run(make_view: Any, now: datetime, phase: str, expected: str) -> None:
    published = {"digest": DIGEST, "uri": "s3://kinema/models/a/", "run": 1}
    before = {"run": 1, "attempt": 4, "phase": phase, "published": published, "restarts": {"stall": 2}}
    plan = decide(make_view(before, at_work(now), runId="second"))
    status = status_of(plan)
    assert (status.run, status.run_id, status.attempt, status.phase) == (2, "second", 0, "Pending")
    assert (status.restarts, status.published is not None) == ({}, True)
    (record,) = status.history
    assert (record.run, record.phase, record.attempts, record.digest) == (1, expected, 4, DIGEST)
    assert ("Job", "job-1") in {(ref.kind, ref.uid) for ref in plan.delete}


def test_taking_the_run_id_away_starts_nothing(make_view: Any) -> None:
    done = {"run": 1, "runId": "first", "attempt": 1, "phase": "Succeeded"}
    assert status_of(decide(make_view(done))).run == 1


def test_history_is_bounded(make_view: Any) -> None:
    history = [{"run": n, "phase": "Failed", "attempts": 1} for n in range(20, 0, -1)]
    before = {"run": 21, "attempt": 1, "phase": "Failed", "history": history}
    status = status_of(decide(make_view(before, runId="again")))
    assert [record.run for record in status.history] == list(range(21, 1, -1))


def test_a_training_on_its_way_out_gets_nothing_new(make_view: Any, now: datetime) -> None:
    view = make_view(TRAINING)
    meta = view.training.metadata.model_copy(update={"deletion_timestamp": now})
    leaving = dataclasses.replace(view, training=view.training.model_copy(update={"metadata": meta}))
    assert decide(leaving) == Plan()
