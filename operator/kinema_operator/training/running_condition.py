"""The condition Running: a group of at least minNodes is training, or else what is missing."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from kinema_operator.training.observed import JobSeen, PodSeen
from kinema_operator.training.view import Status, View

PODS_DUE_AFTER: Final = timedelta(seconds=30)
"""Time for the Job controller to create the pods: by default it creates some twenty a second, of all Jobs."""
TOO_FEW: Final = "TooFewNodes"
"""Reason of Running while some trainers run, but fewer than the group needs."""
_MAX_LISTED: Final = 3
"""Most reasons or names in a message."""


def ready_nodes(view: View) -> int:
    """Nodes in the current round, according to both trainers and API server."""
    found = view.progress
    if found is None or found.world_size == 0:
        return 0
    members = found.nodes if found.nodes is not None else found.world_size
    return min(members, running_trainers(view))


def running_trainers(view: View) -> int:
    """Trainers that run and are not being deleted."""
    return sum(pod.running for pod in view.trainers)


def with_running_condition(view: View, status: Status) -> Status:
    """`status` with the condition Running of the current attempt."""
    if view.job is None:
        return status
    if view.job.suspended:
        return view.mark(status, "Running", False, "JobSuspended", _suspended(view.job))
    if pods_due_in(view) > 0:
        return status  # Report missing pods only when they are overdue.
    running, ready, least = running_trainers(view), ready_nodes(view), view.spec.min_nodes
    why, leaves = lacking(view), _replaced(view)
    if running < least:
        reason = TOO_FEW if running else "WaitingForPods"
        message = f"{running} of at least {least} trainers are running{why}{_also(view)}{leaves}"
        return view.mark(status, "Running", False, reason, message)
    if not any(_serves(pod) for pod in view.stores):
        stays = tuple(pod for pod in view.stores if not pod.deleted or pod.trouble)
        message = f"{running} trainers are running and waiting for their rendezvous{_reasons(stays)}{leaves}"
        return view.mark(status, "Running", False, "NoRendezvous", message)
    if ready < least:
        message = f"{running} of {view.nodes} trainers are running and forming a group of at least {least}{why}{leaves}"
        return view.mark(status, "Running", False, "FormingGroup", message)
    if ready > view.nodes:
        message = f"{ready} nodes are training, and {ready - view.nodes} of them are leaving{leaves}"
        return view.mark(status, "Running", True, "Resizing", message)
    reason = "Training" if ready == view.nodes else "FewerNodes"
    return view.mark(status, "Running", True, reason, f"{ready} of {view.nodes} nodes are training{why}{leaves}")


def pods_due_in(view: View) -> float:
    """Seconds until the Job's pods are overdue; zero or less: they are, or they exist."""
    if view.job is None or view.job.created is None or view.trainers:
        return 0.0
    return (view.job.created + PODS_DUE_AFTER - view.now).total_seconds()


def lacking(view: View) -> str:
    """Why trainers do not run, after a colon; empty if unknown."""
    there = sum(not pod.over for pod in view.trainers)
    missing = (view.job.parallelism if view.job else view.nodes) - there
    found = _reasons(view.trainers)
    if missing > 0 and not found:
        pods = "1 pod is" if missing == 1 else f"{missing} pods are"
        return f": {pods} not created yet"
    return found


def _replaced(view: View) -> str:
    """Rendezvous pods that are being replaced and since when, each after a semicolon; deletion may take long."""
    gone = sorted((pod.deleted, pod.name, pod.node) for pod in view.stores if pod.deleted and not pod.over)
    parts = [
        f"; rendezvous {name}{f' on node {node}' if node else ''} is being replaced (since {since:%Y-%m-%dT%H:%M:%SZ})"
        for since, name, node in gone[-_MAX_LISTED:]
    ]
    return "".join(parts)


def rivals(view: View) -> str:
    """Other trainings that wait for nodes, ending in "; ", or an empty string. Names of other namespaces are hidden."""
    namespace = view.training.metadata.namespace
    near = sorted(rival.name for rival in view.seen.rivals if rival.namespace == namespace)
    far = sum(rival.namespace != namespace for rival in view.seen.rivals)
    found = near[:3] + ([f"{far} of other namespaces"] if far else [])
    return f"{', '.join(found)} wait{'s' if len(found) == 1 and not far else ''} for nodes as well; " if found else ""


def _also(view: View) -> str:
    waiting = rivals(view).removesuffix("; ")
    return f"; {waiting}, and all but the oldest delete their pods soon" if waiting else ""


def _reasons(pods: tuple[PodSeen, ...]) -> str:
    reasons: dict[str, list[str]] = {}
    for pod in pods:
        if reason := _reason(pod):
            reasons.setdefault(reason, []).append(pod.name)
    parts = [f"{', '.join(names[:_MAX_LISTED])}: {reason}" for reason, names in sorted(reasons.items())[:_MAX_LISTED]]
    return f": {'; '.join(parts)}" if parts else ""


def _reason(pod: PodSeen) -> str:
    where = f"node {pod.node}" if pod.node else "its node"
    if pod.over:
        return ""
    if pod.trouble:
        return f"{where} is {pod.trouble}"
    if pod.deletion_time:
        return f"it is being deleted from {where}"
    return pod.waiting


def _serves(pod: PodSeen) -> bool:
    return pod.phase == "Running" and pod.deletion_time is None and pod.end is None


def _suspended(job: JobSeen) -> str:
    if job.queue:
        return f"Job {job.name} is suspended until Kueue admits it from the queue {job.queue}: see its Workload"
    return (
        f"Job {job.name} is suspended, so it creates no pods: Kueue resumes it on admission; if it was not suspended "
        "by "
        "Kueue, set its spec.suspend to false"
    )
