"""What is decided while an attempt begins, is under way and fails, case by case."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest

from kinema_api import names
from kinema_api.wire import CommittedCheckpoint, TerminationMessage, TrainerProgress
from kinema_operator.training.effects import IssueCredentials, PruneCheckpoints
from kinema_operator.training.observed import (
    Observed,
    PodEnd,
    ResumePoint,
    StorageProblem,
)
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
    failed,
    made,
    message,
    status_of,
    trainer,
)

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
    assert plan.events == (), "the condition tells it: hundreds may begin at once"


@pytest.mark.parametrize("reason", ["StorageUnreachable", "BucketMissing", "SecretMissing", "StorageDenied"])
def test_what_may_yet_appear_is_waited_for(make_view: Any, settings: Any, reason: Any) -> None:
    problem = StorageProblem(reason, "the store is not there")
    plan = decide(make_view(seen=Observed(storage_problem=problem)))
    assert (status_of(plan).phase, status_of(plan).attempt) == ("Pending", 0)
    assert condition(plan, "Running") == ("False", reason)
    assert "checks again" in message(plan, "Running")
    assert plan.requeue_after == settings.store_probe_seconds
    assert plan.apply == ()


def test_a_fixed_attempt_gets_all_its_objects(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(STARTING, Observed(credentials_expire=now + timedelta(hours=1))))
    assert made(plan) == {
        ("NetworkPolicy", "kinema-trainings"),
        ("Service", "kinema-rendezvous"),
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
    word = TerminationMessage(failure_class="user_error", message="width 65 is not a multiple of heads 4")
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
    progress = TrainerProgress(
        run=1, attempt=1, round=1, rank=0, world_size=2, step=9, step_age_seconds=1800, step_seconds=1
    )
    seen = at_work(now, progress=progress, quiet_seconds=1800.0, export=NO_EXPORT)
    plan = decide(make_view(TRAINING, seen))
    assert status_of(plan).restarts == {"stall": 1}
    assert condition(plan, "Running") == ("False", "Stalled")
