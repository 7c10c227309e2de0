"""Every transition of a training, one look at a time."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest

from kinema_api import names
from kinema_api.base import find_condition
from kinema_api.training import VideoModelTrainingStatus
from kinema_api.wire import CommittedCheckpoint, LastWord, TrainerProgress
from kinema_operator.plan import Plan
from kinema_operator.training.effects import IssueCredentials, PruneCheckpoints, Publish
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


def failed(now: datetime, code: int, word: LastWord | None = None, **changes: Any) -> Observed:
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


# Beginning


def test_a_new_training_fixes_its_first_attempt_before_anything_is_made(make_view: Any) -> None:
    plan = decide(make_view(seen=Observed(resume=ResumePoint(1, 0, None))))
    status = status_of(plan)
    assert (status.phase, status.run, status.attempt, status.resume_from) == ("Pending", 1, 1, None)
    assert status.start_time is not None
    assert status.selector == f"{names.LABEL_TRAINING}=tiny-world,{names.LABEL_COMPONENT}=trainer"
    assert condition(plan, "Accepted") == ("True", "Valid")
    assert condition(plan, "Running") == ("False", "Starting")
    assert plan.apply == ()
    assert plan.effects == (IssueCredentials(),)
    assert [event.reason for event in plan.events] == ["AttemptStarted"]


@pytest.mark.parametrize("reason", ["StorageUnreachable", "BucketMissing", "SecretMissing", "StorageDenied"])
def test_what_may_yet_appear_is_waited_for(make_view: Any, settings: Any, reason: Any) -> None:
    problem = StorageProblem(reason, "the store is not there")
    plan = decide(make_view(seen=Observed(storage_problem=problem)))
    assert (status_of(plan).phase, status_of(plan).attempt) == ("Pending", 0)
    assert condition(plan, "Running") == ("False", reason)
    assert "looked at again" in message(plan, "Running")
    assert plan.requeue_after == settings.store_probe_seconds
    assert plan.apply == ()


def test_a_fixed_attempt_gets_all_its_objects(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(STARTING, Observed(credentials_expire=now + timedelta(hours=1))))
    assert made(plan) == {
        ("NetworkPolicy", "tiny-world-training"),
        ("Service", "tiny-world-pods"),
        ("Pod", "tiny-world-r1-a1-store"),
        ("Job", "tiny-world-r1-a1"),
    }
    assert {a.manifest["kind"] for a in plan.apply if a.once} == {"Pod", "Job"}
    assert plan.effects == ()


def test_no_pod_is_made_before_its_secret(make_view: Any) -> None:
    plan = decide(make_view(STARTING, Observed()))
    assert plan.apply == ()
    assert plan.effects == (IssueCredentials(),)
    denied = StorageProblem("StorageDenied", "AssumeRole is refused")
    plan = decide(make_view(STARTING, Observed(storage_problem=denied)))
    assert condition(plan, "Running") == ("False", "StorageDenied")


# Under way


def test_running_trainers_make_it_training(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(STARTING, at_work(now)))
    assert status_of(plan).phase == "Training"
    assert condition(plan, "Running") == ("False", "FormingGroup")
    assert [event.reason for event in plan.events] == ["Training"]
    assert ("Job", JOB.name) not in made(plan), "a running Job is not touched"


def test_why_pods_wait_is_told(make_view: Any, now: datetime) -> None:
    waiting = trainer("a", now, phase="Pending", started=None, waiting="0/3 nodes match")
    plan = decide(make_view(STARTING, at_work(now, pods=(STORE, waiting))))
    assert status_of(plan).phase == "Pending"
    assert condition(plan, "Running") == ("False", "WaitingForPods")
    assert "0/3 nodes match" in message(plan, "Running")
    assert plan.requeue_after is not None
    assert plan.requeue_after > 60, "the watch tells when a pod is scheduled: nothing is asked meanwhile"


def test_progress_is_rounded_into_the_status(make_view: Any, now: datetime) -> None:
    checkpoint = CommittedCheckpoint(step=100, prefix=ATTEMPT + "step-00000100/round-0001/", digest=DIGEST, time=1.5e9)
    progress = TrainerProgress(
        run=1, attempt=1, round=1, rank=0, world_size=2, step=123, total_steps=800, loss=0.123456,
        step_seconds=0.5, tokens_per_second=8123.4, checkpoint=checkpoint,
    )  # fmt: skip
    plan = decide(make_view(TRAINING, at_work(now, progress=progress)))
    status = status_of(plan)
    assert status.progress is not None
    assert (status.progress.step, status.progress.total_steps) == (123, 800)
    assert (status.progress.loss, status.progress.tokens_per_second) == (0.1235, 8120.0)
    assert status.progress.eta_seconds == 338
    assert (status.nodes.desired, status.nodes.ready) == (2, 2)
    assert condition(plan, "Running") == ("True", "Training")
    assert status.last_checkpoint is not None
    assert status.last_checkpoint.uri == f"s3://kinema/{checkpoint.prefix}"
    prune = PruneCheckpoints(1, "trainings/team/tiny-world/7a1f/run-001/", 3, None)
    assert plan.effects == (prune,)
    again = decide(make_view(status.to_wire(), at_work(now, progress=progress)))
    assert again.effects == (), "pruned once per checkpoint"
    assert again.status == status


def test_progress_of_another_attempt_is_not_believed(make_view: Any, now: datetime) -> None:
    stranger = TrainerProgress(run=1, attempt=2, round=9, rank=0, world_size=2, step=700)
    assert status_of(decide(make_view(TRAINING, at_work(now, progress=stranger)))).progress is None


def test_a_lost_pod_is_a_smaller_group_and_nothing_more(make_view: Any, now: datetime) -> None:
    pods = (STORE, trainer("a", now), trainer("b", now, PodEnd(exit_code=137, finished=now)))
    progress = TrainerProgress(run=1, attempt=1, round=2, rank=0, world_size=1, step=9, last_step_time=now.timestamp())
    plan = decide(make_view(TRAINING, at_work(now, pods=pods, progress=progress, export=NO_EXPORT)))
    assert (status_of(plan).phase, status_of(plan).attempt, status_of(plan).nodes.ready) == ("Training", 1, 1)
    assert condition(plan, "Running") == ("True", "FewerNodes")
    assert plan.delete == ()


@pytest.mark.parametrize(("nodes", "expected"), [(3, 3), (1, 1)])
def test_a_resize_is_one_guarded_patch(make_view: Any, now: datetime, nodes: int, expected: int) -> None:
    plan = decide(make_view(TRAINING, at_work(now), nodes=nodes))
    (patch,) = plan.patches
    assert (patch.ref.name, patch.ref.uid, patch.resource_version) == (JOB.name, JOB.uid, "77")
    assert patch.body == {"spec": {"parallelism": expected, "completions": expected}}
    assert [event.reason for event in plan.events] == ["Resizing"]
    resized = at_work(now, jobs=(dataclasses.replace(JOB, parallelism=nodes),))
    assert decide(make_view(TRAINING, resized, nodes=nodes)).patches == ()


def test_a_store_that_is_gone_is_made_anew(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(TRAINING, at_work(now, pods=(trainer("a", now),))))
    assert ("Pod", "tiny-world-r1-a1-store") in made(plan)
    assert status_of(plan).attempt == 1


def test_a_leaving_store_is_waited_for_until_it_hangs(make_view: Any, now: datetime) -> None:
    leaving = dataclasses.replace(STORE, deletion_time=now + timedelta(seconds=2))
    plan = decide(make_view(TRAINING, at_work(now, pods=(leaving, trainer("a", now)))))
    assert not any(kind == "Pod" for kind, _ in made(plan)), "two stores could form two groups"
    assert plan.requeue_after is not None
    assert plan.requeue_after <= 5
    hangs = dataclasses.replace(STORE, deletion_time=now - timedelta(seconds=30))
    plan = decide(make_view(TRAINING, at_work(now, pods=(hangs, trainer("a", now)))))
    assert ("Pod", "tiny-world-r1-a1-store-2") in made(plan)


@pytest.mark.parametrize("broken", [{"phase": "Failed"}, {"min_nodes": 3}])
def test_a_store_that_ended_or_forms_other_groups_is_replaced(
    make_view: Any, now: datetime, broken: dict[str, Any]
) -> None:
    plan = decide(make_view(TRAINING, at_work(now, pods=(dataclasses.replace(STORE, **broken), trainer("a", now)))))
    assert [(ref.kind, ref.uid) for ref in plan.delete] == [("Pod", "store-1")]


def test_credentials_are_renewed_at_half_of_their_life(make_view: Any, now: datetime) -> None:
    early = at_work(now, credentials_expire=now + timedelta(minutes=31))
    late = at_work(now, credentials_expire=now + timedelta(minutes=30))
    assert decide(make_view(TRAINING, early)).effects == ()
    assert decide(make_view(TRAINING, late)).effects == (IssueCredentials(),)


# Failing


def test_a_user_error_fails_at_once_with_the_trainers_sentence(make_view: Any, now: datetime) -> None:
    word = LastWord(failure_class="user_error", message="width 65 is not a multiple of heads 4")
    plan = decide(make_view(TRAINING, failed(now, 2, word, export=NO_EXPORT)))
    assert status_of(plan).phase == "Failed"
    assert condition(plan, "Failed") == ("True", "UserError")
    assert condition(plan, "Succeeded") == ("False", "UserError")
    assert "width 65 is not a multiple of heads 4" in message(plan, "Failed")
    assert "runId" in message(plan, "Failed")
    assert status_of(plan).completion_time == now
    assert plan.delete == (), "the status is written before its evidence goes"


@pytest.mark.parametrize(
    ("code", "failure_class", "wait"), [(40, "out_of_memory", 10), (41, "numerics", 10), (42, "stall", 10)]
)
def test_other_classes_get_another_attempt(
    make_view: Any, now: datetime, code: int, failure_class: str, wait: float
) -> None:
    plan = decide(make_view(TRAINING, failed(now, code, export=NO_EXPORT)))
    status = status_of(plan)
    assert (status.phase, status.attempt, status.restarts) == ("Pending", 1, {failure_class: 1})
    assert status.not_before == now + timedelta(seconds=wait)
    assert plan.delete == ()
    assert plan.apply == ()
    assert [event.type for event in plan.events] == ["Warning"]


def test_a_spent_budget_fails_the_run(make_view: Any, now: datetime) -> None:
    before = {**TRAINING, "restarts": {"out_of_memory": 2}}
    plan = decide(make_view(before, failed(now, 40, export=NO_EXPORT)))
    assert status_of(plan).phase == "Failed"
    assert condition(plan, "Failed") == ("True", "OutOfMemory")
    assert "after 3 failures of this kind" in message(plan, "Failed")
    assert "batchTokens" in message(plan, "Failed")


@pytest.mark.parametrize(("finished", "failure_class"), [("Failed", "network"), ("Complete", "unknown")])
def test_a_job_that_ended_without_an_export_ended_its_attempt(
    make_view: Any, now: datetime, finished: Any, failure_class: str
) -> None:
    job = dataclasses.replace(JOB, finished=finished, message="backoff limit reached")
    plan = decide(make_view(TRAINING, failed(now, 43, jobs=(job,), export=NO_EXPORT)))
    assert status_of(plan).restarts == {failure_class: 1}


def test_a_deleted_job_is_a_new_attempt_for_free(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(TRAINING, at_work(now, jobs=(), pods=(STORE,), export=NO_EXPORT)))
    assert status_of(plan).restarts == {"preemption": 1}
    assert status_of(plan).not_before == now


def test_a_deleted_job_whose_trainers_never_ran_is_just_made_again(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(STARTING, at_work(now, jobs=(), pods=(STORE,))))
    assert ("Job", JOB.name) in made(plan)
    assert status_of(plan).attempt == 1


def test_while_the_store_cannot_say_whether_the_run_is_done_nothing_is_done(make_view: Any, now: datetime) -> None:
    away = StorageProblem("StorageUnreachable", "the store does not answer")
    for seen in (failed(now, 2, storage_problem=away), at_work(now, jobs=(), storage_problem=away)):
        plan = decide(make_view(TRAINING, seen))
        assert (status_of(plan).phase, status_of(plan).attempt) == ("Training", 1)
        assert condition(plan, "Running") == ("False", "StorageUnreachable")
        assert (plan.apply, plan.delete, plan.events) == ((), (), ())


def test_a_stall_restarts_the_attempt(make_view: Any, now: datetime) -> None:
    old = now - timedelta(minutes=30)
    progress = TrainerProgress(
        run=1, attempt=1, round=1, rank=0, world_size=2, step=9, last_step_time=old.timestamp(), step_seconds=1
    )
    pods = (STORE, trainer("a", now, started=old), trainer("b", now, started=old))
    plan = decide(make_view(TRAINING, at_work(now, pods=pods, progress=progress, export=NO_EXPORT)))
    assert status_of(plan).restarts == {"stall": 1}
    assert condition(plan, "Running") == ("False", "Stalled")


# Between attempts


def waiting(now: datetime, seconds: float = -1, **changes: Any) -> dict[str, Any]:
    return {
        "run": 1, "attempt": 1, "phase": "Pending", "notBefore": (now + timedelta(seconds=seconds)).isoformat(),
    } | changes  # fmt: skip


def test_the_old_attempt_is_removed_and_its_job_waited_for(make_view: Any, now: datetime) -> None:
    resume = ResumePoint(1, 1, ATTEMPT + "step-00000100/round-0001/", 100)
    plan = decide(make_view(waiting(now), at_work(now, resume=resume)))
    assert {(ref.kind, ref.uid) for ref in plan.delete} == {("Job", "job-1"), ("Pod", "store-1")}
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
def test_suspending(make_view: Any, now: datetime, before: dict[str, Any]) -> None:
    plan = decide(make_view(before, at_work(now) if before else None, suspend=True))
    assert status_of(plan).phase == "Suspended"
    assert condition(plan, "Suspended") == ("True", "Suspended")
    assert plan.apply == ()


def test_a_suspended_training_keeps_no_pods_and_goes_on_as_the_next_attempt(make_view: Any, now: datetime) -> None:
    suspended = {"run": 1, "attempt": 1, "phase": "Suspended"}
    plan = decide(make_view(suspended, at_work(now), suspend=True))
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


def test_publishing_is_asked_for_until_the_model_is_there(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(PUBLISHING, at_work(now, export=ExportSeen(1, 1, digest=DIGEST))))
    assert plan.effects == (Publish(1, 1, ATTEMPT + "export/", DIGEST),)
    assert status_of(plan).phase == "Publishing"


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
    assert {ref.kind for ref in plan.delete} == {"Job", "Pod"}
    complete = at_work(now, jobs=(dataclasses.replace(JOB, finished="Complete"),))
    plan = decide(make_view(succeeded(10), complete))
    assert {ref.kind for ref in plan.delete} == {"Pod"}, "a finished Job keeps its logs"


def test_a_failed_run_leaves_nothing_running(make_view: Any, now: datetime) -> None:
    plan = decide(make_view({"run": 1, "attempt": 1, "phase": "Failed"}, at_work(now)))
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
