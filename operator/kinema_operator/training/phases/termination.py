"""What is left of attempts that are over: as long as it is there, it may still write. Pure.

A pod that should have ended long ago may run on behind a partition, so it is waited for until its kubelet says that it
has ended, or it was declared failed because its node is known to be dead.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from kinema_api import names
from kinema_operator.training.observed import JobSeen, PodSeen
from kinema_operator.training.view import View

STUCK_AFTER: Final = timedelta(seconds=5)
"""A pod that is still there so long after it should be gone stands on a node that does not answer."""
_MAX_LISTED: Final = 3
"""So many pods are named in a message."""


def may_write(view: View, pod: PodSeen) -> bool:
    """Whether the pod's process may still write, as far as its own node can be believed."""
    if pod.over:
        return False
    return pod.deletion_time is None or view.now <= pod.deletion_time + STUCK_AFTER


def unfinished_pods(view: View) -> tuple[PodSeen, ...]:
    """Trainers and evaluators of any attempt that have not ended, those that never ran and those that leave too."""
    return tuple(pod for pod in view.seen.pods if pod.component != names.COMPONENT_STORE and not pod.over)


def making_pods(view: View) -> tuple[JobSeen, ...]:
    """Jobs that could still make a pod.

    One that is being deleted makes none; it counts until it is gone, unless only a pod that has ended keeps it.
    """
    ended = {(p.component, p.run, p.attempt) for p in view.seen.pods if p.over}
    return tuple(j for j in view.seen.jobs if not j.deleting or (j.component, j.run, j.attempt) not in ended)


def waiting_message(view: View) -> str:
    """Who is waited for, and what helps where a node keeps silent."""
    left = unfinished_pods(view)
    stuck = [pod for pod in left if not may_write(view, pod)]
    if stuck:
        return (
            f"{_names(stuck)} should have ended by now and may still be writing, since its node does not say that it "
            "has "
            "ended; bring the node back, or delete its Node object when the machine is off"
        )
    if left:
        return f"{_names(left)} must end first"
    return f"Job {making_pods(view)[0].name} must be gone first" if making_pods(view) else ""


def _names(pods: list[PodSeen] | tuple[PodSeen, ...]) -> str:
    more = f" and {len(pods) - _MAX_LISTED} more" if len(pods) > _MAX_LISTED else ""
    return ", ".join(f"{pod.name} on node {pod.node}" if pod.node else pod.name for pod in pods[:_MAX_LISTED]) + more
