"""The phase Evaluating: a Job evaluates the exported model; its report decides whether the model is published. Pure.

The manifest of the report, written last, commits it: a model without a committed report is evaluated (again). The
digest of the model is written into the status before its evaluation starts, and into the report; a report on another
model is ignored.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from kinema_api import layout
from kinema_api.base import find_condition
from kinema_api.evaluation import METRICS, EvaluationStatus, shortfall
from kinema_api.training_status import FailureClass, NodeCount
from kinema_api.wire import EvaluationResult
from kinema_operator.core.plan import Event, Plan, Ref
from kinema_operator.core.stores import store_location
from kinema_operator.training import children, failure
from kinema_operator.training.failure import Failure
from kinema_operator.training.observed import ExportSeen
from kinema_operator.training.phases import credentials, ending, publishing
from kinema_operator.training.uri import uri
from kinema_operator.training.view import Status, View, change

ACCURACY_DIGITS: Final = 4

_ADVICE: Final[dict[FailureClass, str]] = {
    "out_of_memory": "give worker.resources more memory or lower evaluation.clips, with a new runId",
    "user_error": "correct spec.evaluation and set a new runId",
    "network": "check that pods reach the object store, then set a new runId",
}
_OTHER_ADVICE: Final = "see the evaluator's logs, then set a new runId"


def start(view: View, status: Status, digest: str) -> Plan:
    """The plan that starts the evaluation of the model `digest`, with the other changes in `status`."""
    message = f"Attempt {status.attempt} has committed its model; the model is evaluated before it is published"
    status = change(
        status,
        phase="Evaluating",
        nodes=NodeCount(desired=view.nodes),
        evaluation=EvaluationStatus(model_digest=digest),
    )
    status = view.mark(status, "Evaluated", "Unknown", "Evaluating", message)
    status = view.mark(status, "Running", True, "Evaluating", message)
    return Plan(status=status, events=(Event("Evaluating", message),), requeue_after=0.0)


def follow(view: View, export: ExportSeen) -> Plan:
    """The plan during the evaluation."""
    begun = view.status.evaluation
    if begun is None or begun.model_digest != export.digest:
        # A later round has exported the model again.
        return start(view, view.changed(), export.digest or "")
    if view.report and view.report.result and view.report.result.model_digest == export.digest:
        return _conclude(view, view.report.result)
    found = _sign_of_failure(view)
    return _fail(view, found) if found else _go_on(view)


def _sign_of_failure(view: View) -> Failure | None:
    job = view.evaluation_job
    if job is None or job.finished is None:
        return None
    if job.finished == "Complete":
        return Failure("unknown", "the evaluator ended without a readable report")
    return failure.of_job(view.evaluators, job.message)


def _fail(view: View, found: Failure) -> Plan:
    advice = _ADVICE.get(found.failure_class, _OTHER_ADVICE)
    message = f"The model could not be evaluated and is not published: {found.message}; {advice}"
    status = view.mark(view.changed(), "Evaluated", False, "EvaluationFailed", message)
    return ending.fail(view, status, "EvaluationFailed", message)


def _go_on(view: View) -> Plan:
    status = _running(view)
    effects = credentials.renewal(view)
    if view.seen.credentials_expire is None:
        # Without its Secret a pod would wait for its volume.
        status = credentials.waits_for_store(view, status)
        return Plan(status=status, effects=effects, requeue_after=credentials.retry_wait(view))
    waits = _old_one_is_there(view)
    apply = () if view.evaluation_job or waits else children.evaluation_objects(view)
    return Plan(
        apply=(children.policy(view), *apply),
        delete=(*_leftovers_of_training(view), *children.of_other_models(view)),
        status=status,
        effects=effects,
        requeue_after=children.LOOK_AGAIN_SECONDS if waits else _look_again(view),
    )


def _running(view: View) -> Status:
    waiting = "; ".join(sorted({pod.waiting for pod in view.evaluators if pod.waiting and not pod.end}))
    why = f"; its pod is waiting: {waiting}" if waiting else ""
    message = f"The model of attempt {view.status.attempt} is being evaluated{why}"
    status = view.changed(nodes=NodeCount(desired=view.nodes))
    return view.mark(status, "Running", True, "Evaluating", message)


def _old_one_is_there(view: View) -> bool:
    """Whether a pod of another Job could still write a report."""
    if view.evaluation_job:
        return False
    return bool(children.evaluation_jobs(view)) or any(not pod.over for pod in view.evaluators)


def _leftovers_of_training(view: View) -> tuple[Ref, ...]:
    """Objects of the training to delete, once trainers had time to exit by themselves: their resources are needed."""
    return () if _grace(view) > timedelta(0) else children.of_training(view)


def _grace(view: View) -> timedelta:
    """Remaining time for trainers to exit by themselves."""
    evaluated = find_condition(view.status.conditions, "Evaluated")
    if view.job is None or view.job.finished or evaluated is None:
        return timedelta(0)
    return evaluated.last_transition_time + children.LEFTOVER_GRACE - view.now


def _look_again(view: View) -> float:
    renewal = max(0.0, credentials.renewal_wait(view))
    grace = _grace(view).total_seconds()
    return min(renewal, grace) if grace > 0 else renewal


def _conclude(view: View, result: EvaluationResult) -> Plan:
    location = store_location(view.spec.artifact_store, view.settings)
    report = uri(location, layout.evaluation_prefix(view.attempt_prefix) + layout.REPORT_PAGE)
    gate = view.spec.evaluation.gate if view.spec.evaluation else {}
    missed = shortfall(gate, result.accuracy, result.lower_bounds)
    # From a pod, so untrusted: drop values that the API server would refuse in the status.
    accuracy, lower_bounds = (
        {m: round(of[m], ACCURACY_DIGITS) for m in METRICS if m in of} for of in (result.accuracy, result.lower_bounds)
    )
    found = EvaluationStatus(
        model_digest=result.model_digest,
        report_uri=report,
        accuracy=accuracy,
        lower_bounds=lower_bounds,
        passed=not missed,
        seconds=round(result.seconds, 1),
    )
    status = view.changed(evaluation=found)
    if missed:
        message = f"The model is not published: {missed}; train longer or lower evaluation.gate, with a new runId"
        status = view.mark(status, "Evaluated", False, "GateNotMet", message)
        return ending.fail(view, status, "GateNotMet", message)
    figures = ", ".join(f"{metric} {share:.1%}" for metric, share in accuracy.items()) or "no accuracy of captions"
    message = f"The model has been evaluated: {figures}; the report is {report}"
    plan = publishing.start(view, view.mark(status, "Evaluated", True, "GateMet" if gate else "Measured", message))
    return Plan(status=plan.status, events=(Event("Evaluated", message), *plan.events), requeue_after=0.0)
