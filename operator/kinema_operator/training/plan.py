"""The plan of a training. Pure: the same observation gives the same plan.

A run is a sequence of attempts. Between two attempts (`between_attempts`) nothing runs; the resume point of the next
one is written into the status before any of its objects is created. During an attempt its objects exist and its
progress is reported, until its export is committed, it fails, or the training is suspended. Its outcome is written into
the status before its objects are deleted, since they are the evidence.

    Pending (-> Preparing -> Pending) -> Training -> (Evaluating ->) Publishing -> Succeeded
       ^             |                      |             |              |
       +-------------+----------------------+-------------+--------------+-> Failed

    Suspended <-> Pending or Evaluating
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from kinema_api.training_status import NodeCount
from kinema_operator.core.plan import Effect, Event, Plan
from kinema_operator.core.stores import store_location
from kinema_operator.training import children, failure, nodes, running_condition
from kinema_operator.training.effects import CloseAttempt, PruneCheckpoints
from kinema_operator.training.failure import Failure
from kinema_operator.training.observed import ExportSeen
from kinema_operator.training.phases import (
    base,
    cleaning,
    credentials,
    ending,
    evaluation,
    new_run,
    next_attempt,
    placement,
    preparing,
    publishing,
    restore,
    suspension,
    termination,
)
from kinema_operator.training.phases.progress import completed, follow
from kinema_operator.training.phases.resume import checkpoint_of
from kinema_operator.training.uri import key, uri
from kinema_operator.training.view import Status, View, change


def decide(view: View) -> Plan:
    """The plan of one training."""
    if view.training.metadata.deletion_timestamp:
        return nodes.with_losses(view, cleaning.leave(view))
    plan = credentials.noted(view, nodes.with_losses(view, _decide(view)))
    if view.seen.older and not view.older_in_use:
        plan = dataclasses.replace(plan, delete=(*plan.delete, *view.seen.older))
    if view.status.phase != "Preparing":
        plan = dataclasses.replace(plan, delete=(*plan.delete, *view.seen.preparation_policies))
    if not isinstance(plan.status, Status):
        return plan
    return dataclasses.replace(
        plan, effects=(*plan.effects, *restore.remembered(view, plan.status), *cleaning.finalizer(view))
    )


def _decide(view: View) -> Plan:
    if view.wants_new_run:
        return _begin_run(view)
    match view.status.phase:
        case "Succeeded" | "Failed":
            return _ended(view)
        case "Suspended":
            return suspension.suspended(view)
        case "Preparing":
            return suspension.suspend(view) if view.spec.suspend else preparing.follow(view)
        case "Evaluating":
            return _evaluating(view)
        case "Publishing":
            return _publishing(view)
        case "Pending" | "Training":
            return _between_attempts(view) if view.between_attempts else _attempt(view)


# A new run


def _begin_run(view: View) -> Plan:
    found = view.seen.found
    if found and restore.is_the_present_run(view, found):
        return new_run.restored(view, found)
    fresh = new_run.fresh(view, found)
    plan = _between_attempts(view.with_status(fresh))
    if view.status.run == 0:
        return plan  # No event for the first run of a new resource: its conditions say the same.
    # The event of an attempt that starts at once names the run too.
    started = Event("RunStarted", f"Run {fresh.run} has begun")
    return plan if plan.events else dataclasses.replace(plan, events=(started,))


# Between two attempts


def _between_attempts(view: View) -> Plan:
    if view.spec.suspend:
        return suspension.suspend(view)
    gone = children.of_every_attempt(view, keep_finished_job=False)
    status = view.changed(phase="Pending", nodes=NodeCount(desired=view.nodes))
    not_before = status.not_before
    if not_before and view.now < not_before:
        return Plan(delete=gone, status=status, requeue_after=(not_before - view.now).total_seconds())
    problem = view.seen.storage_problem
    if problem:
        status = view.mark(status, "Running", False, problem.reason, f"{problem.message}; the operator checks again")
        return Plan(delete=gone, status=status, requeue_after=view.settings.store_probe_seconds)
    if refusal := account_refused(view):
        return Plan(delete=gone, status=view.mark(status, "Running", False, "ServiceAccountNotAllowed", refusal))
    status = base.resolved(view, status)
    if view.spec.model.init_from and not status.base:
        return Plan(delete=gone, status=status, requeue_after=view.settings.store_probe_seconds)
    if view.wants_clips and (why := preparing.refused(view)):
        return Plan(delete=gone, status=view.mark(status, "Running", False, *why))
    # Pods and Jobs of the old attempt could still write, or create pods that write.
    if waits := termination.waiting_message(view):
        message = f"Attempt {status.attempt + 1} of run {status.run} waits for the previous one: {waits}"
        status = view.mark(status, "Running", False, "OldPodsRemain", message)
        return Plan(delete=gone, status=status, requeue_after=children.LOOK_AGAIN_SECONDS)
    if view.wants_clips:
        return dataclasses.replace(preparing.start(view, status), delete=gone)
    if view.resume is None:
        return Plan(delete=gone, status=status, requeue_after=0.0)
    if not view.resume.closed:
        # A trainer that is cut off could still commit a newer checkpoint: first close the head.
        return Plan(delete=gone, status=status, effects=(CloseAttempt(view.attempt_prefix),), requeue_after=0.0)
    return _fix_attempt(view.with_status(status), Plan(delete=gone, requeue_after=0.0))


def account_refused(view: View) -> str:
    """Why no trainer may be made as the service account that the spec names; empty: it may."""
    account = view.spec.trainer_template.service_account_name
    if account is None or account in view.settings.allowed_service_accounts:
        return ""
    return (
        f"the service account {account} is not on the list of those that trainers may run as: remove "
        "worker.podTemplate.serviceAccountName, with a new runId, or ask an administrator to add it "
        "(allowedServiceAccounts in the chart's values)"
    )


def _fix_attempt(view: View, plan: Plan) -> Plan:
    """Write number and resume point of the next attempt into the status; create none of its objects yet."""
    resume = view.resume
    assert resume is not None
    location = store_location(view.spec.artifact_store, view.settings)
    attempt = view.status.attempt + 1
    resume_from = uri(location, resume.prefix) if resume.prefix else None
    status = change(view.status, attempt=attempt, not_before=None, resume_from=resume_from, progress=None)
    if resume.prefix is None or resume.digest:
        # Newer checkpoints are incomplete or not allowed by the fence.
        status = change(status, last_checkpoint=checkpoint_of(view, resume))
    origin = f"from the checkpoint of step {resume.step}" if resume.prefix else "from scratch"
    message = f"Attempt {attempt} of run {status.run} starts {origin}"
    # No event for the first attempt: its condition says the same, and many trainings may start at once.
    first = status.run == 1 and attempt == 1 and not resume.prefix
    events = [] if first else [Event("AttemptStarted", message)]
    if resume.passed_over:
        torn = ", ".join(resume.passed_over)
        events.append(Event("CheckpointPassedOver", f"Incomplete checkpoints were skipped: {torn}", "Warning"))
    status = view.mark(status, "Running", False, "Starting", message)
    return Plan(
        delete=plan.delete,
        status=status,
        events=tuple(events),
        # An effect is carried out before the status names a base that was just found, which its keys must open.
        effects=() if view.seen.base else credentials.renewal(view),
        requeue_after=plan.requeue_after,
    )


# During an attempt


def _attempt(view: View) -> Plan:
    if view.export and view.export.digest:
        return _exported(view, view.export)
    if view.spec.suspend:
        return suspension.suspend(view)
    found = sign_of_failure(view)
    if found is None:
        return _go_on(view)
    return _end_attempt(view, found) if view.export else _hold(view)


def sign_of_failure(view: View) -> Failure | None:
    """The failure of the attempt, unless its export is committed."""
    if view.export and view.export.problem:
        return Failure("network", view.export.problem)
    found = failure.fatal(view.trainers)
    if found:
        return found
    job = view.job
    if job is None:
        # Once trainers have run, a new Job would number its rounds from the start.
        gone = view.status.phase == "Training"
        return Failure("preemption", "the Job was deleted") if gone else None
    if job.finished == "Failed":
        return failure.of_job(view.trainers, job.message)
    if job.finished == "Complete":
        return Failure("unknown", "the trainers ended without exporting a model")
    working = view.progress is not None and view.progress.world_size > 0
    looping = None if working else failure.crash_loop(view.trainers, view.nodes, view.now)
    return looping or failure.stalled(view) or placement.given_back(view)


def _hold(view: View) -> Plan:
    """The plan after a sign of failure while the export is unknown: create and delete nothing."""
    return Plan(
        status=credentials.waits_for_store(view, view.changed()), requeue_after=view.settings.store_probe_seconds
    )


def _go_on(view: View) -> Plan:
    status = follow(view, view.changed())
    effects: list[Effect] = list(credentials.renewal(view))
    if _checkpointed(view, status):
        effects.append(_prune(view))
    if view.seen.credentials_expire is None:
        # Without its Secret a pod would wait for its volume, which the kubelet retries with a growing backoff.
        return Plan(
            status=credentials.waits_for_store(view, status),
            effects=tuple(effects),
            requeue_after=credentials.retry_wait(view),
        )
    patches = (*children.resize(view, view.job), *nodes.healthy_again(view))
    status = nodes.with_nodes_watched(view, status)
    events = list(_transition(view, status))
    if children.resize(view, view.job) and view.job:
        events.append(Event("Resizing", f"From {view.job.parallelism} to {view.nodes} nodes"))
    events.extend(children.stores_lost(view))
    return Plan(
        apply=children.objects(view),
        patches=(*patches, *children.resize_groups(view)),
        delete=(*children.of_other_attempts(view), *children.unfit_stores(view), *children.held_pods(view)),
        status=status,
        events=tuple(events),
        effects=tuple(effects),
        requeue_after=_look_again(view),
        words_may_wait=True,
    )


def _look_again(view: View) -> float:
    """Seconds until the next reconcile: running trainers are polled, pending pods are watched."""
    if view.seen.cut_off_seconds:
        return children.LOOK_SOON_SECONDS
    if any(pod.deletion_time for pod in view.stores):
        return min(children.LOOK_AGAIN_SECONDS, view.settings.progress_interval_seconds)
    if any(pod.running for pod in view.trainers):
        return view.settings.progress_interval_seconds
    wait = max(0.0, credentials.renewal_wait(view))
    due = running_condition.pods_due_in(view)
    return min(wait, due) if due > 0 else wait


def _transition(view: View, status: Status) -> tuple[Event, ...]:
    if status.phase == "Training" and view.status.phase == "Pending":
        return (Event("Training", f"Trainers of attempt {status.attempt} are running"),)
    return ()


def _checkpointed(view: View, status: Status) -> bool:
    return status.last_checkpoint is not None and status.last_checkpoint != view.status.last_checkpoint


def _prune(view: View) -> PruneCheckpoints:
    status, location = view.status, store_location(view.spec.artifact_store, view.settings)
    return PruneCheckpoints(status.run, view.run_prefix, view.spec.checkpoint.keep, key(location, status.resume_from))


# End of an attempt


def _end_attempt(view: View, found: Failure) -> Plan:
    status = view.status
    counted = found.failure_class if found.wait is None else placement.RESTARTS
    earlier = status.restarts.get(counted, 0)
    if failure.budget_spent(found.failure_class, earlier, view.settings):
        return _fail(view, found, earlier)
    wait = found.wait if found.wait is not None else failure.backoff(found.failure_class, earlier, view.settings)
    again = f"attempt {status.attempt + 1} follows" + (f" in {int(wait.total_seconds())} s" if wait else " at once")
    changes = next_attempt.changes_after(view, found)
    message = f"Attempt {status.attempt} ended: {found.message}; {changes.sentence}{again}"
    status = view.changed(
        phase="Pending",
        nodes=NodeCount(desired=view.nodes),
        restarts={**status.restarts, counted: earlier + 1},
        not_before=view.now + wait,
        **changes.fields,
    )
    status = view.mark(_unmeasured(view, status, message), "Running", False, found.reason, message)
    return Plan(status=status, events=(Event("AttemptFailed", message, "Warning"),), requeue_after=0.0)


def _fail(view: View, found: Failure, earlier: int) -> Plan:
    tries = f" after {earlier + 1} failures of this kind" if earlier else ""
    advice = failure.ADVICE[found.failure_class]
    message = f"{found.message}{tries}; {advice}" if advice else f"{found.message}{tries}"
    return ending.fail(view, _unmeasured(view, view.changed(), message), found.reason, message)


def _unmeasured(view: View, status: Status, message: str) -> Status:
    """`status` without the evaluation, which was of a failed attempt's model."""
    if status.evaluation is None:
        return status
    return view.mark(change(status, evaluation=None), "Evaluated", False, "AttemptFailed", message)


# End of a run


def _exported(view: View, export: ExportSeen) -> Plan:
    status = view.changed(progress=completed(view, export.step))
    if view.spec.evaluation and export.digest:
        return evaluation.start(view, status, export.digest)
    return publishing.start(view, status)


def _evaluating(view: View) -> Plan:
    return suspension.suspend(view) if view.spec.suspend else _with_export(view, evaluation.follow)


def _publishing(view: View) -> Plan:
    return _with_export(view, _publish)


def _publish(view: View, export: ExportSeen) -> Plan:
    measured = view.status.evaluation
    if measured and measured.model_digest != export.digest:
        return evaluation.follow(view, export)
    if problem := publishing.broken(view, export):
        return _end_attempt(view, Failure("network", problem))
    return publishing.publish(view, export)


def _with_export(view: View, go_on: Callable[[View, ExportSeen], Plan]) -> Plan:
    """The plan of `go_on` for the committed export, which each observation reads again."""
    export, problem = view.export, view.seen.storage_problem
    if export is None and problem:
        message = f"{problem.message}; the operator checks again"
        status = view.mark(view.changed(), "Running", True, problem.reason, message)
        return Plan(status=status, requeue_after=view.settings.store_probe_seconds)
    if export is None:
        return Plan(status=view.changed(), requeue_after=0.0)
    if export.problem or not export.digest:
        return _end_attempt(view, Failure("network", export.problem or "the export's manifest is missing"))
    return go_on(view, export)


def _ended(view: View) -> Plan:
    """The plan of an ended run: delete remaining objects, but keep a finished Job for its logs."""
    status = view.changed()
    finished_at = status.completion_time or view.now
    over = view.now - finished_at
    unfinished = any(not job.finished and not job.deleting for job in view.seen.jobs)
    at_its_end = status.phase == "Succeeded" or status.evaluation is not None
    if at_its_end and unfinished and over < children.LEFTOVER_GRACE:
        return Plan(status=status, requeue_after=(children.LEFTOVER_GRACE - over).total_seconds())
    again = children.LOOK_AGAIN_SECONDS if termination.unfinished_pods(view) else None
    plan = Plan(delete=children.of_every_attempt(view, keep_finished_job=True), status=status, requeue_after=again)
    return cleaning.after_the_end(view, plan)
