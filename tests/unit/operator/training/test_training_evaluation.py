"""The phase Evaluating, case by case: what is made, what decides, and what is never done without a report."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest

from kinema_api import names
from kinema_api.evaluation import METRICS, shortfall
from kinema_api.run import EvaluationConfig
from kinema_api.wire import EXIT_CODES, EvaluationResult, TerminationMessage
from kinema_operator.core.plan import Plan
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import store_location
from kinema_operator.training import children
from kinema_operator.training.effects import IssueCredentials
from kinema_operator.training.objects.pod import POD_ENV
from kinema_operator.training.observed import (
    ExportSeen,
    JobSeen,
    Observed,
    PodEnd,
    PodSeen,
    ReportSeen,
    ResumePoint,
    StorageProblem,
)
from kinema_operator.training.plan import decide
from unit.operator.training.facts import (
    ATTEMPT,
    DIGEST,
    JOB,
    STORE,
    TRAINING,
    at_work,
    condition,
    made,
    message,
    status_of,
)

OTHER = "sha256:" + "c" * 64
EVALUATION = {"clips": 8, "gate": {"colour": 0.9}}
EXPORT = ExportSeen(1, 1, digest=DIGEST, step=800)
EVALUATING = {"run": 1, "attempt": 1, "phase": "Evaluating", "evaluation": {"modelDigest": DIGEST}}
TRAINED = dataclasses.replace(JOB, finished="Complete")
MEASURING = JobSeen(
    "tiny-world-r1-a1-evaluation", "job-e", "78", 1, 1, parallelism=1, component=names.COMPONENT_EVALUATOR,
    model=names.short_digest(DIGEST),
)  # fmt: skip


def evaluator(now: datetime, end: PodEnd | None = None, **fields: Any) -> PodSeen:
    given = {"phase": "Failed" if end else "Running", "started": now} | fields
    return PodSeen("e", "pod-e", names.COMPONENT_EVALUATOR, 1, 1, end=end, **given)


def trained(now: datetime, **changes: Any) -> Observed:
    """The trainers have ended, and the export is there."""
    seen = Observed(
        jobs=(TRAINED,), export=EXPORT, report=ReportSeen(1, 1), credentials_expire=now + timedelta(hours=1)
    )
    return dataclasses.replace(seen, **changes)


def measured(digest: str = DIGEST, **accuracy: float) -> ReportSeen:
    return ReportSeen(1, 1, EvaluationResult(model_digest=digest, accuracy=accuracy, seconds=12.34))


def names_of(plan: Plan) -> set[str]:
    return {apply.manifest["kind"] for apply in plan.apply}


def test_a_committed_export_is_measured_first_if_that_is_asked_for(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(TRAINING, at_work(now, export=EXPORT), evaluation=EVALUATION))
    status = status_of(plan)
    assert status.phase == "Evaluating"
    assert status.evaluation is not None
    assert (status.evaluation.model_digest, status.evaluation.passed) == (DIGEST, None)
    assert condition(plan, "Evaluated") == ("Unknown", "Evaluating")
    assert [event.reason for event in plan.events] == ["Evaluating"]
    assert (plan.apply, plan.effects) == ((), ()), "the digest is in the status before anything is made"


def test_one_job_measures_it(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(EVALUATING, trained(now), evaluation=EVALUATION))
    assert made(plan) == {("NetworkPolicy", "kinema-trainings"), ("Job", "tiny-world-r1-a1-evaluation")}
    (job,) = [apply for apply in plan.apply if apply.once]
    args = job.manifest["spec"]["template"]["spec"]["containers"][0]["args"]
    config = EvaluationConfig.model_validate_json(args[args.index("--config") + 1])
    assert (config.model_digest, config.prefix, config.evaluation.clips) == (DIGEST, ATTEMPT, 8)
    assert not any(name.endswith("-publish") for _, name in made(plan))
    settled = decide(
        make_view(status_of(plan).to_wire(), trained(now, jobs=(TRAINED, MEASURING)), evaluation=EVALUATION)
    )
    assert (names_of(settled), settled.delete, settled.events) == ({"NetworkPolicy"}, (), ())
    assert settled.status == plan.status
    assert settled.requeue_after is not None
    assert settled.requeue_after > 60, "the watch tells; only the credentials need a look"


def test_why_its_pod_waits_is_said(make_view: Any, now: datetime) -> None:
    waits = evaluator(now, phase="Pending", started=None, waiting="0/3 nodes are available")
    plan = decide(make_view(EVALUATING, trained(now, jobs=(MEASURING,), pods=(waits,)), evaluation=EVALUATION))
    assert "0/3 nodes are available" in message(plan, "Running")


@pytest.mark.parametrize(
    ("gate", "accuracy", "reason"),
    [
        ({}, {}, "Measured"),
        ({}, {"colour": 0.1}, "Measured"),
        ({"colour": 0.9}, {"colour": 0.9}, "GateMet"),
        ({"colour": 0.9, "shape": 0.0}, {"colour": 1.0, "shape": 0.0, "everything": 0.2}, "GateMet"),
    ],
)
def test_what_is_good_enough_goes_on_to_be_published(
    make_view: Any, now: datetime, gate: dict[str, float], accuracy: dict[str, float], reason: str
) -> None:
    seen = trained(now, jobs=(TRAINED, MEASURING), report=measured(**accuracy))
    plan = decide(make_view(EVALUATING, seen, evaluation={"gate": gate}))
    status = status_of(plan)
    assert status.phase == "Publishing"
    assert status.evaluation is not None
    assert status.evaluation.to_wire() == {
        "modelDigest": DIGEST,
        "reportUri": f"s3://kinema/{ATTEMPT}evaluation/report.html",
        "accuracy": accuracy,
        "lowerBounds": {},
        "passed": True,
        "seconds": 12.3,
    }
    assert condition(plan, "Evaluated") == ("True", reason)
    assert [event.reason for event in plan.events] == ["Evaluated", "Publishing"]


@pytest.mark.parametrize(
    ("accuracy", "sentence"),
    [
        ({"colour": 0.8999}, "colour is 0.8999, below the gate of 0.9"),
        ({"shape": 1.0}, "colour was not measured; the gate is 0.9"),
    ],
)
def test_a_gate_that_is_not_met_ends_the_run_unpublished(
    make_view: Any, now: datetime, accuracy: dict[str, float], sentence: str
) -> None:
    seen = trained(now, jobs=(TRAINED, MEASURING), report=measured(**accuracy))
    plan = decide(make_view(EVALUATING, seen, evaluation=EVALUATION))
    status = status_of(plan)
    assert (status.phase, status.completion_time) == ("Failed", now)
    assert condition(plan, "Failed") == ("True", "GateNotMet")
    assert condition(plan, "Evaluated") == ("False", "GateNotMet")
    assert sentence in message(plan, "Failed")
    assert status.evaluation is not None
    assert status.evaluation.passed is False
    assert (plan.effects, names_of(plan)) == ((), set())
    later = decide(make_view(status.to_wire(), seen, now + timedelta(minutes=1), evaluation=EVALUATION))
    assert (later.status, later.effects, later.apply) == (status, (), ())


def test_a_pod_says_nothing_that_the_status_could_not_take(make_view: Any, now: datetime) -> None:
    said = {f"made-up-{number}": 0.5 for number in range(100)} | {"colour": 1.0}
    plan = decide(make_view(EVALUATING, trained(now, report=measured(**said)), evaluation=EVALUATION))
    evaluation = status_of(plan).evaluation
    assert evaluation is not None
    assert evaluation.accuracy == {"colour": 1.0}


@pytest.mark.parametrize("phase", ["Evaluating", "Publishing"])
def test_another_model_by_then_is_measured_anew(make_view: Any, now: datetime, phase: str) -> None:
    seen = trained(now, export=dataclasses.replace(EXPORT, digest=OTHER), report=measured(colour=1.0))
    plan = decide(make_view(EVALUATING | {"phase": phase}, seen, evaluation=EVALUATION))
    status = status_of(plan)
    assert status.phase == "Evaluating"
    assert status.evaluation is not None
    assert (status.evaluation.model_digest, status.evaluation.passed) == (OTHER, None)
    finished = dataclasses.replace(MEASURING, finished="Complete")
    plan = decide(
        make_view(status.to_wire(), dataclasses.replace(seen, jobs=(TRAINED, finished)), evaluation=EVALUATION)
    )
    assert [ref.uid for ref in plan.delete] == ["job-e"], "the Job that measured the other model"
    assert status_of(plan).phase == "Evaluating"
    assert names_of(plan) == {"NetworkPolicy"}


def test_a_report_on_another_attempt_or_model_counts_for_nothing(make_view: Any, now: datetime) -> None:
    of_another = dataclasses.replace(measured(colour=1.0), attempt=2)
    for report in (of_another, measured(OTHER, colour=1.0)):
        plan = decide(make_view(EVALUATING, trained(now, report=report), evaluation=EVALUATION))
        assert status_of(plan).phase == "Evaluating"
        assert "Job" in names_of(plan)


# What fails


@pytest.mark.parametrize(
    ("code", "word", "sentence"),
    [
        (
            EXIT_CODES["user_error"],
            TerminationMessage(failure_class="user_error", message="no such section"),
            "no such section",
        ),
        (EXIT_CODES["out_of_memory"], None, "lower evaluation.clips"),
        (EXIT_CODES["network"], None, "reach the object store"),
        (1, None, "see the evaluator's logs"),
    ],
)
def test_a_job_that_failed_ends_the_run(
    make_view: Any, now: datetime, code: int, word: TerminationMessage | None, sentence: str
) -> None:
    job = dataclasses.replace(MEASURING, finished="Failed", message="BackoffLimitExceeded")
    pods = (evaluator(now, PodEnd(exit_code=code, word=word, finished=now)),)
    plan = decide(make_view(EVALUATING, trained(now, jobs=(TRAINED, job), pods=pods), evaluation=EVALUATION))
    assert status_of(plan).phase == "Failed"
    assert condition(plan, "Failed") == ("True", "EvaluationFailed")
    assert condition(plan, "Evaluated") == ("False", "EvaluationFailed")
    assert sentence in message(plan, "Failed")


def test_a_pod_that_died_is_the_jobs_own_business(make_view: Any, now: datetime) -> None:
    pods = (evaluator(now, PodEnd(exit_code=137, finished=now)),)
    plan = decide(make_view(EVALUATING, trained(now, jobs=(TRAINED, MEASURING), pods=pods), evaluation=EVALUATION))
    assert status_of(plan).phase == "Evaluating"
    assert plan.events == ()


def test_a_report_counts_however_its_pod_ended(make_view: Any, now: datetime) -> None:
    job = dataclasses.replace(MEASURING, finished="Failed")
    plan = decide(make_view(EVALUATING, trained(now, jobs=(job,), report=measured(colour=1.0)), evaluation=EVALUATION))
    assert status_of(plan).phase == "Publishing"


def test_a_job_that_is_done_without_a_report_ends_the_run(make_view: Any, now: datetime) -> None:
    job = dataclasses.replace(MEASURING, finished="Complete")
    plan = decide(make_view(EVALUATING, trained(now, jobs=(job,)), evaluation=EVALUATION))
    assert condition(plan, "Failed") == ("True", "EvaluationFailed")


def test_an_export_that_breaks_meanwhile_is_made_again(make_view: Any, now: datetime) -> None:
    broken = ExportSeen(1, 1, problem="export/a does not have the sha256 of its manifest")
    plan = decide(make_view(EVALUATING, trained(now, export=broken, jobs=(TRAINED, MEASURING)), evaluation=EVALUATION))
    status = status_of(plan)
    assert (status.phase, status.evaluation) == ("Pending", None)
    assert condition(plan, "Evaluated") == ("False", "AttemptFailed")
    resume = ResumePoint(1, 1, None)
    later = Observed(jobs=(TRAINED, MEASURING), resume=resume)
    plan = decide(make_view(status.to_wire(), later, now + timedelta(hours=1), evaluation=EVALUATION))
    assert {ref.uid for ref in plan.delete} == {"job-1", "job-e"}


@pytest.mark.parametrize("jobs", [(TRAINED,), (TRAINED, dataclasses.replace(MEASURING, finished="Failed"))])
def test_a_store_that_is_away_decides_nothing(make_view: Any, now: datetime, jobs: tuple[JobSeen, ...]) -> None:
    away = trained(
        now, jobs=jobs, export=None, report=None, storage_problem=StorageProblem("StorageUnreachable", "it is away")
    )
    plan = decide(make_view(EVALUATING, away, evaluation=EVALUATION))
    assert (plan.apply, plan.delete, plan.effects, status_of(plan).phase) == ((), (), (), "Evaluating")
    assert condition(plan, "Running") == ("True", "StorageUnreachable")
    assert plan.requeue_after


# Pods and their keys


def test_no_pod_is_made_before_its_credentials(make_view: Any, now: datetime) -> None:
    plan = decide(make_view(EVALUATING, trained(now, credentials_expire=None), evaluation=EVALUATION))
    assert (plan.apply, plan.effects) == ((), (IssueCredentials(),))
    refused = trained(now, credentials_expire=None, storage_problem=StorageProblem("StorageDenied", "no STS"))
    plan = decide(make_view(EVALUATING, refused, evaluation=EVALUATION))
    assert plan.effects == (IssueCredentials(),)
    assert condition(plan, "Running") == ("False", "StorageDenied")


def test_credentials_are_renewed_while_it_measures(make_view: Any, now: datetime) -> None:
    seen = trained(now, jobs=(TRAINED, MEASURING), credentials_expire=now + timedelta(minutes=29))
    assert decide(make_view(EVALUATING, seen, evaluation=EVALUATION)).effects == (IssueCredentials(),)


@pytest.mark.parametrize(
    ("jobs", "pods", "waits"),
    [
        ((dataclasses.replace(MEASURING, deleting=True),), (), True),
        ((), ({},), True),
        ((), ({"deletion_time": timedelta(seconds=10)},), True),
        ((), ({"deletion_time": timedelta(seconds=-60)},), True),
        ((), ({"phase": "Succeeded"},), False),
    ],
)
def test_a_new_job_waits_for_whatever_could_still_write_a_report(
    make_view: Any, now: datetime, jobs: tuple[JobSeen, ...], pods: tuple[dict[str, Any], ...], waits: bool
) -> None:
    old = tuple(
        evaluator(now, **{k: now + v if isinstance(v, timedelta) else v for k, v in pod.items()}) for pod in pods
    )
    plan = decide(make_view(EVALUATING, trained(now, jobs=(TRAINED, *jobs), pods=old), evaluation=EVALUATION))
    assert ("Job" in names_of(plan)) is not waits
    if waits:
        assert plan.requeue_after == children.LOOK_AGAIN_SECONDS


def test_what_trained_leaves_once_it_has_ended_or_had_its_time(make_view: Any, now: datetime) -> None:
    begun = decide(make_view(TRAINING, at_work(now, export=EXPORT), evaluation=EVALUATION))
    status = status_of(begun).to_wire()
    still = trained(now, jobs=(JOB, MEASURING), pods=(STORE,))
    plan = decide(make_view(status, still, evaluation=EVALUATION))
    assert plan.delete == ()
    assert plan.requeue_after == children.LEFTOVER_GRACE.total_seconds()
    plan = decide(make_view(status, still, now + children.LEFTOVER_GRACE, evaluation=EVALUATION))
    assert {ref.uid for ref in plan.delete} == {"job-1", "store-1"}
    ended = dataclasses.replace(still, jobs=(TRAINED, MEASURING))
    assert {ref.uid for ref in decide(make_view(status, ended, evaluation=EVALUATION)).delete} == {"store-1"}


# Suspension and new runs


def test_suspending_stops_the_pod_and_going_on_measures_the_same_model(make_view: Any, now: datetime) -> None:
    seen = trained(now, jobs=(TRAINED, MEASURING), pods=(evaluator(now),))
    plan = decide(make_view(EVALUATING, seen, evaluation=EVALUATION, suspend=True))
    assert status_of(plan).phase == "Evaluating", "its pod is not gone yet"
    assert {ref.uid for ref in plan.delete} == {"job-1", "job-e"}
    seen = trained(now, jobs=())
    plan = decide(make_view(EVALUATING, seen, evaluation=EVALUATION, suspend=True))
    assert status_of(plan).phase == "Suspended"
    assert "the model is kept" in message(plan, "Suspended")
    suspended = status_of(plan).to_wire()
    plan = decide(make_view(suspended, seen, evaluation=EVALUATION, suspend=True))
    assert plan.delete == ()
    assert plan.status == make_view(suspended).status, "nothing more to write"
    plan = decide(make_view(suspended, Observed(), evaluation=EVALUATION))
    status = status_of(plan)
    assert (status.phase, status.attempt, status.not_before) == ("Evaluating", 1, None)
    assert condition(plan, "Suspended") == ("False", "Resumed")
    assert "Job" in names_of(decide(make_view(status.to_wire(), trained(now, jobs=()), evaluation=EVALUATION)))


def test_a_new_run_forgets_what_was_measured(make_view: Any, now: datetime) -> None:
    before = EVALUATING | {"phase": "Failed", "conditions": [], "completionTime": now.isoformat()}
    plan = decide(make_view(before, Observed(resume=ResumePoint(2, 0, None)), evaluation=EVALUATION, runId="second"))
    status = status_of(plan)
    assert (status.run, status.evaluation) == (2, None)


def test_the_log_of_an_evaluator_is_not_cut_off_at_the_end(make_view: Any, now: datetime) -> None:
    failed = EVALUATING | {"phase": "Failed", "completionTime": now.isoformat()}
    seen = trained(now, jobs=(TRAINED, MEASURING))
    assert decide(make_view(failed, seen, evaluation=EVALUATION)).delete == ()
    over = decide(make_view(failed, seen, now + children.LEFTOVER_GRACE, evaluation=EVALUATION))
    assert [ref.uid for ref in over.delete] == ["job-e"]


# The Job


def test_its_pod_may_do_no_more_than_a_trainer(make_view: Any, now: datetime, settings: Settings) -> None:
    limits = {"memory": "4Gi", "nvidia.com/gpu": 1}
    worker = {"resources": {"limits": limits}, "nodeSelector": {"disk": "fast"}}
    view = make_view(EVALUATING, trained(now), evaluation=EVALUATION, worker=worker)
    (apply,) = children.evaluation_objects(view)
    (trainers,) = [
        a.manifest for a in children.objects(make_view(TRAINING, worker=worker)) if a.manifest["kind"] == "Job"
    ]
    theirs = trainers["spec"]["template"]["spec"]
    job, spec = apply.manifest["spec"], apply.manifest["spec"]["template"]["spec"]
    assert (job["parallelism"], job["completions"], job["backoffLimit"]) == (1, 1, 4)
    assert (spec["restartPolicy"], job["podReplacementPolicy"]) == ("Never", "Failed")
    assert spec["nodeSelector"] == {"disk": "fast"}
    (container,) = spec["containers"]
    for field in ("securityContext", "volumes", "tolerations", "automountServiceAccountToken", "enableServiceLinks"):
        assert spec[field] == theirs[field]
    assert container["securityContext"] == theirs["containers"][0]["securityContext"]
    assert container["resources"]["limits"] == {"memory": "4Gi", "nvidia.com/gpu": "1"}
    _, app = children.describe_evaluation(view.training, DIGEST, store_location(None, settings), settings)
    (role,) = app.roles
    assert [*container["command"], *container["args"]] == [role.entrypoint, *role.args]
    env = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert env == env | role.env
    assert env.keys() - role.env.keys() == set(POD_ENV)
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert mounts[names.STORAGE_SECRET_DIR] is True
    (owner,) = apply.manifest["metadata"]["ownerReferences"]
    assert owner["uid"] == "7a1f"
    labels = apply.manifest["metadata"]["labels"]
    assert labels == job["template"]["metadata"]["labels"]
    assert labels[names.LABEL_COMPONENT] == names.COMPONENT_EVALUATOR
    assert labels[names.LABEL_DIGEST] == names.short_digest(DIGEST)
    (_, fail) = job["podFailurePolicy"]["rules"]
    assert fail["onExitCodes"]["containerName"] == container["name"]


def test_a_gate_is_met_when_every_metric_is() -> None:
    everything = dict.fromkeys(METRICS, 0.5)
    assert shortfall({}, {}, {}) == ""
    assert shortfall(everything, everything, everything) == ""
    missed = shortfall(everything, everything | {"shape": 0.4, "pan": 0.49}, {})
    assert missed.count("below the gate") == 2


@pytest.mark.parametrize(
    ("lower_bounds", "sentence"),
    [
        ({}, ""),
        ({"colour": 0.9}, ""),
        ({"shape": 0.1}, ""),
        ({"colour": 0.89}, "colour is 1, but its lower bound (95 %) is 0.89, below the gate of 0.9"),
    ],
    ids=["a report of an older version", "met", "of another metric", "too few clips"],
)
def test_the_gate_takes_the_lower_bound_where_there_is_one(lower_bounds: dict[str, float], sentence: str) -> None:
    missed = shortfall({"colour": 0.9}, {"colour": 1.0}, lower_bounds)
    assert missed.startswith(sentence)
    assert bool(missed) is bool(sentence)


def test_the_bounds_of_a_report_are_told_and_judged(make_view: Any, now: datetime) -> None:
    result = EvaluationResult(
        model_digest=DIGEST, accuracy={"colour": 1.0}, lower_bounds={"colour": 0.85, "beauty": 1.0}, seconds=1
    )
    seen = trained(now, jobs=(TRAINED, MEASURING), report=ReportSeen(1, 1, result))
    plan = decide(make_view(EVALUATING, seen, evaluation=EVALUATION))
    evaluation = status_of(plan).evaluation
    assert evaluation is not None
    assert evaluation.lower_bounds == {"colour": 0.85}
    assert condition(plan, "Evaluated") == ("False", "GateNotMet")
    assert "lower bound (95 %) is 0.85" in message(plan, "Failed")
