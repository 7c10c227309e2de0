"""Pods and Jobs of attempts that are over: until they are gone, they may still write. Pure.

A pod whose grace period is over may still run on a node that is cut off. So the next attempt waits until the kubelet
reports its end, or until it is marked as Failed because its node is lost.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from kinema_api import names
from kinema_operator.training.observed import JobSeen, PodSeen
from kinema_operator.training.view import View

STUCK_AFTER: Final = timedelta(seconds=5)
"""A pod that exists this long after its grace period is on a node that does not respond."""
_MAX_LISTED: Final = 3
"""Most pods that a message names."""


def may_write(view: View, pod: PodSeen) -> bool:
    """Whether the pod's process may still write, assuming that its node enforces the grace period."""
    if pod.over:
        return False
    return pod.deletion_time is None or view.now <= pod.deletion_time + STUCK_AFTER


def unfinished_pods(view: View) -> tuple[PodSeen, ...]:
    """Pods of any attempt that have not ended, except rendezvous pods; includes pending and terminating ones."""
    return tuple(pod for pod in view.seen.pods if pod.component != names.COMPONENT_STORE and not pod.over)


def making_pods(view: View) -> tuple[JobSeen, ...]:
    """Jobs that could still create a pod.

    A Job that is being deleted counts until it is gone, unless its pods have ended.
    """
    ended = {(p.component, p.run, p.attempt) for p in view.seen.pods if p.over}
    return tuple(j for j in view.seen.jobs if not j.deleting or (j.component, j.run, j.attempt) not in ended)


def waiting_message(view: View) -> str:
    """What the training waits for, with a remedy if a node does not respond; empty if nothing."""
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
