"""The status of a running attempt: phase, nodes, progress and the newest checkpoint.

Numbers are rounded, so that insignificant changes do not cause a write.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from kinema_api.run import grace_seconds
from kinema_api.training_status import CheckpointStatus, NodeCount, Progress
from kinema_api.wire import MAX_COUNT, CommittedCheckpoint, TrainerProgress
from kinema_operator.core.stores import store_location
from kinema_operator.training import running_condition
from kinema_operator.training.uri import uri
from kinema_operator.training.view import Status, View, change

_LOSS_DIGITS: Final = 4
_SPEED_DIGITS: Final = 3
_LONGEST_AGE: Final = 365 * 86_400.0


def follow(view: View, status: Status) -> Status:
    """`status` with phase, nodes, progress and checkpoint of the running attempt."""
    if status.phase == "Pending" and any(pod.started for pod in view.trainers):
        status = change(status, phase="Training")
    if view.progress:
        status = _with_progress(view, status, view.progress)
    status = change(status, nodes=NodeCount(desired=view.nodes, ready=running_condition.ready_nodes(view)))
    return running_condition.with_running_condition(view, status)


def completed(view: View, step: int) -> Progress:
    """Progress of a run that has exported its model at `step`; its trainers may be gone already."""
    before = view.status.progress or Progress(total_steps=view.spec.optimization.steps)
    return before.model_copy(update={"step": step, "eta_seconds": 0})


def _with_progress(view: View, status: Status, found: TrainerProgress) -> Status:
    grace = max(status.grace_seconds or 0, grace_seconds(found.step_seconds, found.checkpoint_seconds))
    status = change(status, progress=_rounded(found), grace_seconds=grace)
    checkpoint = found.checkpoint
    if checkpoint is None and found.step_age_seconds is not None:
        # The trainers have made a step after looking for a checkpoint, so earlier ones are incomplete.
        return change(status, last_checkpoint=None)
    if checkpoint is None or not checkpoint.prefix.startswith(view.run_prefix):
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
    """When it was committed, by the operator's clock if the trainer reports its age; computed once per checkpoint."""
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
