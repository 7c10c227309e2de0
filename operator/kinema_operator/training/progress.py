"""What a running attempt shows in the status: phase, nodes, progress and the newest checkpoint.

Figures are rounded, so that a status is written when something worth reading has changed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from kinema_api.training import CheckpointStatus, NodeCount, Progress
from kinema_api.wire import MAX_COUNT, CommittedCheckpoint, TrainerProgress
from kinema_operator.storage import store_location
from kinema_operator.training.observed import JobSeen
from kinema_operator.training.uri import uri
from kinema_operator.training.view import Status, View, change

_LOSS_DIGITS: Final = 4
_SPEED_DIGITS: Final = 3
_LONGEST_AGE: Final = 365 * 86_400.0


def follow(view: View, status: Status) -> Status:
    """`status` with what the attempt's pods show."""
    if status.phase == "Pending" and any(pod.started for pod in view.trainers):
        status = change(status, phase="Training")
    found = view.progress
    running = sum(pod.running for pod in view.trainers)
    if found:
        status = _with_progress(view, status, found)
        ready = min(found.world_size, running)
    else:
        ready = min(status.nodes.ready, running)
    status = change(status, nodes=NodeCount(desired=view.nodes, ready=ready))
    return _running_condition(view, status, ready, running)


def completed(view: View, step: int) -> Progress:
    """Progress of a run whose model of `step` is exported; its trainers may be gone before they are asked again."""
    before = view.status.progress or Progress(total_steps=view.spec.optimization.steps)
    return before.model_copy(update={"step": step, "eta_seconds": 0})


def _with_progress(view: View, status: Status, found: TrainerProgress) -> Status:
    status = change(status, progress=_rounded(found))
    checkpoint = found.checkpoint
    if checkpoint is None or not checkpoint.prefix.startswith(view.attempt_prefix):
        return status
    location = store_location(view.spec.artifact_store, view.settings)
    committed = CheckpointStatus(
        step=checkpoint.step,
        uri=uri(location, checkpoint.prefix),
        digest=checkpoint.digest,
        time=_committed_time(view, checkpoint),
    )
    return change(status, last_checkpoint=committed)


def _committed_time(view: View, checkpoint: CommittedCheckpoint) -> datetime:
    """When it was committed, by the operator's clock where the trainer tells its age; told once and kept."""
    before = view.status.last_checkpoint
    if before and before.digest == checkpoint.digest:
        return before.time
    if checkpoint.age_seconds is None:
        return datetime.fromtimestamp(int(checkpoint.time), UTC)
    return view.now - timedelta(seconds=round(min(checkpoint.age_seconds, _LONGEST_AGE)))


def _rounded(found: TrainerProgress) -> Progress:
    left = max(0, found.total_steps - found.step)
    return Progress(
        step=found.step,
        total_steps=found.total_steps,
        loss=_significant(found.loss, _LOSS_DIGITS),
        tokens_per_second=_significant(found.tokens_per_second, _SPEED_DIGITS),
        eta_seconds=_eta(left, found.step_seconds),
    )


def _eta(steps: int, seconds: float | None) -> int | None:
    return None if seconds is None else round(min(steps * seconds, MAX_COUNT))


def _significant(value: float | None, digits: int) -> float | None:
    return None if value is None else float(f"{value:.{digits}g}")


def _running_condition(view: View, status: Status, ready: int, running: int) -> Status:
    waiting = "; ".join(sorted({pod.waiting for pod in (*view.trainers, *view.stores) if pod.waiting and not pod.end}))
    if view.job is None:
        return status
    if view.job.suspended:
        return view.mark(status, "Running", False, "JobSuspended", _suspended(view.job))
    if ready >= view.nodes:
        return view.mark(status, "Running", True, "Training", f"{ready} of {view.nodes} nodes train")
    why = f": {waiting}" if waiting else ""
    if ready:
        return view.mark(status, "Running", True, "FewerNodes", f"{ready} of {view.nodes} nodes train{why}")
    if running == 0:
        return view.mark(status, "Running", False, "WaitingForPods", f"No trainer runs yet{why}")
    message = f"{running} of {view.nodes} trainers run and form a group of at least {view.spec.min_nodes}{why}"
    return view.mark(status, "Running", False, "FormingGroup", message)


def _suspended(job: JobSeen) -> str:
    if job.queue:
        return f"Job {job.name} is suspended until Kueue admits it from the queue {job.queue}: see its Workload"
    return (
        f"Job {job.name} is suspended, so it makes no pods: Kueue starts it when it admits it; if somebody else has "
        "suspended it, set its spec.suspend to false"
    )
