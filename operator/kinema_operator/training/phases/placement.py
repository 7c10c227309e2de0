"""Groups that find no place: pods that hold nodes and wait for more are given back. Pure.

Kubernetes places pods one by one: two groups of three on four nodes hold two each and wait for ever. So a group that
has too few trainers for `placement_seconds`, because others find no place, ends its attempt and tries again later. The
oldest of those that wait holds on `OLDEST_FACTOR` times as long, and comes back first: the others have given their
pods back by then. It gives its own back in the end, since it may be one that never fits.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from kinema_operator.training import failure, running_condition
from kinema_operator.training.failure import Failure
from kinema_operator.training.view import View

OLDEST_FACTOR: Final = 4
RESTARTS: Final = "placement"
"""Key in status.restarts; it has no budget."""


def given_back(view: View) -> Failure | None:
    """Why this attempt gives its pods back, if it is to."""
    seen, settings = view.seen, view.settings
    if seen.short_seconds <= _patience(view) or not _finds_no_place(view):
        return None
    running = running_condition.running_trainers(view)
    message = (
        f"{running} of at least {view.spec.min_nodes} trainers were scheduled within {int(_patience(view))} s"
        f"{running_condition.lacking(view)}; {running_condition.rivals(view)}the pods of the others are deleted"
    )
    position = sum(rival.older for rival in seen.rivals)
    earlier = view.status.restarts.get(RESTARTS, 0)
    wait = failure.backoff("unknown", earlier, settings) + timedelta(seconds=position * settings.placement_seconds)
    return Failure("preemption", message, wait=wait)


def _patience(view: View) -> float:
    oldest = not any(rival.older for rival in view.seen.rivals)
    return view.settings.placement_seconds * (OLDEST_FACTOR if oldest else 1)


def _finds_no_place(view: View) -> bool:
    """Whether a pod says why it has no place, or is not made at all although none has failed."""
    if any(pod.waiting and not pod.started and not pod.over for pod in view.trainers):
        return True
    job = view.job
    return job is not None and not job.suspended and len(view.trainers) < job.parallelism
