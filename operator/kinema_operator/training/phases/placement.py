"""Groups that are only partly scheduled: their pods are deleted, so that another group gets the nodes. Pure.

Kubernetes schedules pods one by one: two groups of three on four nodes get two nodes each and wait for ever. So a group
that has too few trainers for `placement_seconds`, because others are unschedulable, ends its attempt and tries again
later. The oldest waiting training waits `OLDEST_FACTOR` times as long, so that it gets the nodes of the others. It too
ends its attempt then, since it may never fit.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from kinema_operator.training import failure, running_condition
from kinema_operator.training.failure import Failure
from kinema_operator.training.view import View

OLDEST_FACTOR: Final = 4
RESTARTS: Final = "placement"
"""Key in status.restarts; the number is not limited."""


def given_back(view: View) -> Failure | None:
    """The failure that ends a partly scheduled attempt; None: continue to wait."""
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
    """Whether a pod is unschedulable, or is not created although none has failed."""
    if any(pod.waiting and not pod.started and not pod.over for pod in view.trainers):
        return True
    job = view.job
    return job is not None and not job.suspended and len(view.trainers) < job.parallelism
