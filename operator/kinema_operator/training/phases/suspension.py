"""Suspends and resumes a training without losing a step. Pure.

Deleting the Job sends SIGTERM to its pods: trainers end their round at the next step boundary and commit, for which
they need the rendezvous pod, and the kubelet kills pods whose grace period is over. When the last one has ended, the
training is Suspended and its resume point is known.
"""

from __future__ import annotations

from kinema_api import names
from kinema_api.training_status import NodeCount
from kinema_operator.core.plan import Event, Plan
from kinema_operator.training import children
from kinema_operator.training.observed import PodSeen
from kinema_operator.training.phases import credentials, termination
from kinema_operator.training.phases.resume import checkpoint_of
from kinema_operator.training.view import View, change


def suspend(view: View) -> Plan:
    """Stop all pods; Suspended when none is left that could still write."""
    left = termination.unfinished_pods(view)
    gone = children.of_every_attempt(view, keep_finished_job=False)
    if left or termination.making_pods(view):
        return _stopping(view, left, Plan(delete=gone, effects=credentials.upkeep(view)))
    if asks_what_to_go_on_from(view) and view.resume is None and not view.seen.storage_problem:
        return Plan(delete=gone, requeue_after=0.0)
    status = view.changed(phase="Suspended", nodes=NodeCount(desired=view.nodes), not_before=None)
    if view.resume:
        status = change(status, last_checkpoint=checkpoint_of(view, view.resume))
    message = f"Suspended by spec.suspend; {_goes_on_from(view)}"
    status = view.mark(status, "Suspended", True, "Suspended", message)
    status = view.mark(status, "Running", False, "Suspended", "The training is suspended")
    if view.status.phase == "Preparing":
        status = view.mark(status, "Prepared", "Unknown", "Suspended", "The clips are prepared in part")
    return Plan(delete=gone, status=status, events=(Event("Suspended", message),), requeue_after=0.0)


def asks_what_to_go_on_from(view: View) -> bool:
    """Whether to look up the resume point: no pod can commit any more, and the status does not have it yet."""
    if not view.spec.suspend or view.status.phase == "Suspended":
        return False
    trains = view.status.attempt > 0 and view.status.evaluation is None
    return (
        trains
        and not view.wants_new_run
        and not termination.unfinished_pods(view)
        and not termination.making_pods(view)
    )


def suspended(view: View) -> Plan:
    """The plan of a suspended training; resumes when spec.suspend is false."""
    gone = children.of_every_attempt(view, keep_finished_job=False)
    if view.spec.suspend:
        again = children.LOOK_AGAIN_SECONDS if termination.unfinished_pods(view) else None
        return Plan(delete=gone, status=view.changed(nodes=NodeCount(desired=view.nodes)), requeue_after=again)
    if view.status.evaluation:
        status, follows = view.changed(phase="Evaluating"), "The model is evaluated"
    else:
        status = view.changed(phase="Pending", not_before=view.now)
        follows = "The next attempt resumes from the newest checkpoint"
        if view.wants_clips:
            follows = "The rest of the clips is prepared"
    status = view.mark(status, "Suspended", False, "Resumed", "spec.suspend is false")
    status = view.mark(status, "Running", False, "Resumed", follows)
    return Plan(delete=gone, status=status, events=(Event("Resumed", "The training resumes"),), requeue_after=0.0)


def _stopping(view: View, left: tuple[PodSeen, ...], plan: Plan) -> Plan:
    began = not any(c.type == "Suspended" and c.reason == "Suspending" for c in view.status.conditions)
    status = view.changed(nodes=NodeCount(desired=view.nodes, ready=view.status.nodes.ready))
    if view.status.phase == "Pending" and any(pod.started for pod in view.trainers):
        status = change(status, phase="Training")
    message = _waits_for(view, left)
    status = view.mark(status, "Suspended", False, "Suspending", message)
    status = view.mark(status, "Running", any(pod.started for pod in left), "Suspending", message)
    events = (Event("Suspending", "spec.suspend is true: the pods are being stopped"),) if began else ()
    return Plan(
        delete=plan.delete,
        status=status,
        events=events,
        effects=plan.effects,
        requeue_after=children.LOOK_AGAIN_SECONDS,
    )


def _waits_for(view: View, left: tuple[PodSeen, ...]) -> str:
    if not left or any(not termination.may_write(view, pod) for pod in left):
        return termination.waiting_message(view) or "The Job is being deleted"
    ends = [pod.deletion_time for pod in left if pod.deletion_time]
    limit = f", which ends at {max(ends):%H:%M:%S} UTC at the latest" if ends else ""
    if any(pod.component == names.COMPONENT_TRAINER for pod in left):
        return f"{len(left)} trainers are stopping at a step boundary and committing a checkpoint{limit}"
    if any(pod.component == names.COMPONENT_PREPARER for pod in left):
        return f"the pods that prepare clips are stopping, {len(left)} are left{limit}"
    return f"The evaluator's pod is stopping{limit}"


def _goes_on_from(view: View) -> str:
    if view.status.evaluation:
        return "the model is kept, and spec.suspend: false evaluates it"
    if view.status.phase == "Preparing":
        return "what is prepared is kept, and spec.suspend: false prepares the rest"
    if view.status.attempt == 0:
        return "nothing has started, and spec.suspend: false starts it"
    if view.resume is None:
        problem = view.seen.storage_problem
        assert problem is not None
        return f"checkpoints are kept, and spec.suspend: false resumes from the newest one ({problem.message})"
    if view.resume.prefix is None:
        return "no checkpoint was committed, and spec.suspend: false starts from scratch"
    return f"spec.suspend: false resumes from the checkpoint of step {view.resume.step}"
