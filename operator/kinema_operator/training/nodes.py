"""Pods on lost nodes: when they are marked as Failed, so that the Job controller replaces them.

A pod on a lost node stays Terminating until its kubelet is back, and until then a Job with podReplacementPolicy Failed
creates no replacement. Phase Failed in the pod's status, with DisruptionTarget so that it does not count as a failure,
allows one (kube-controller-manager's pod garbage collector does the same when the Node object is gone).

A node that only cannot reach the API server continues to train. So a pod is marked only when its node is unreachable
*and* it does not respond to the operator. The rendezvous has then removed it from the group long before (its time-out
is a quarter of that of Kubernetes for a node). Marking a pod as Failed stops no process: the rendezvous' epoch and the
trainer's lease keep a pod that was marked too early from committing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from kinema_api import names
from kinema_api.base import find_condition
from kinema_api.wire import TrainerProgress
from kinema_operator.core.controller import Cache
from kinema_operator.core.plan import Event, KubeObject, Patch, Plan, Ref
from kinema_operator.core.resources import NODE_KIND
from kinema_operator.training.observed import NodeTrouble, Observed, PodSeen
from kinema_operator.training.read import FAILURE_COUNTS
from kinema_operator.training.view import Status, View

REASON: Final = "NodeLost"
HEALTHY_AFTER: Final = timedelta(seconds=30)
"""Once a trainer has trained for this long, earlier failures of its index are reset, so that its next replacement waits
10 s and not up to 10 minutes."""
EVALUATOR_PATIENCE: Final = timedelta(seconds=30)
SILENT_STEPS_SECONDS: Final = 20.0
SILENT_STEPS: Final = 3
"""A group without a step for this many median steps, and SILENT_STEPS_SECONDS at least, does not train."""
LOOK_AGAIN_SECONDS: Final = 5.0
"""Reconcile interval while a pod's node has a problem: no watch reports when the pod stops responding."""
_UNREACHABLE_TAINTS: Final = frozenset({"node.kubernetes.io/unreachable", "node.kubernetes.io/out-of-service"})

NO_RIGHTS: Final = (
    "the operator has no permission to watch nodes: pods of a lost node are replaced only when it is back, or its "
    "Node object is "
    "deleted; an administrator can allow it (chart value nodes.watch: true)"
)


# Observation


def with_node(pod: PodSeen, cache: Cache) -> PodSeen:
    """`pod` with the problem of its node."""
    if not pod.node or cache.list_state(NODE_KIND) != "listed":
        return pod
    node = cache.get(NODE_KIND, "", pod.node)
    trouble = trouble_of(node)
    return dataclasses.replace(pod, trouble=trouble, trouble_since=_since(node)) if trouble else pod


def trouble_of(node: KubeObject | None) -> NodeTrouble | None:
    """The problem of a node; None for a healthy one."""
    if node is None or node["metadata"].get("deletionTimestamp"):
        return "deleted"
    ready = _ready(node).get("status", "Unknown")
    taints = {taint["key"] for taint in (node.get("spec") or {}).get("taints") or ()}
    if ready == "Unknown" or taints & _UNREACHABLE_TAINTS:
        return "unreachable"
    return "not ready" if ready == "False" else None


def _ready(node: KubeObject) -> Mapping[str, Any]:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == "Ready"), {})


def _since(node: KubeObject | None) -> datetime | None:
    said = _ready(node).get("lastTransitionTime") if node else None
    return datetime.fromisoformat(said) if said else None


def to_ask(view: View, pods: Iterable[KubeObject]) -> list[KubeObject]:
    """Running trainers on nodes with a problem: only they are asked whether they still run."""
    asked = {pod.name for pod in view.trainers if pod.trouble and not _ended(pod)}
    return [pod for pod in pods if pod["metadata"]["name"] in asked]


def with_silence(
    seen: Observed, progress: TrainerProgress | None, silent: Collection[str], quiet_seconds: float
) -> Observed:
    """`seen` with whether pods on nodes with a problem respond. A rendezvous pod counts as responding while its group
    makes steps, since no trainer steps without it. `quiet_seconds`: see GroupSeen."""
    working = _steps(progress, quiet_seconds)

    def heard(pod: PodSeen) -> PodSeen:
        if not pod.trouble:
            return pod
        if pod.component == names.COMPONENT_STORE:
            return dataclasses.replace(pod, silent=not working)
        if pod.component == names.COMPONENT_TRAINER:
            return dataclasses.replace(pod, silent=pod.name in silent)
        return pod

    return dataclasses.replace(seen, pods=tuple(heard(pod) for pod in seen.pods))


def _steps(progress: TrainerProgress | None, quiet_seconds: float) -> bool:
    """Whether a group is training; `progress` may be the last response of a trainer that is gone."""
    if progress is None or progress.world_size == 0:
        return False
    return quiet_seconds <= max(SILENT_STEPS_SECONDS, SILENT_STEPS * (progress.step_seconds or 0.0))


# Plan


def with_losses(view: View, plan: Plan) -> Plan:
    """`plan`, with the replacement of pods on lost nodes."""
    lost = [pod for pod in view.seen.pods if is_lost(view, pod)]
    if any(pod.trouble and not _ended(pod) for pod in view.seen.pods):
        again = LOOK_AGAIN_SECONDS if plan.requeue_after is None else min(plan.requeue_after, LOOK_AGAIN_SECONDS)
        plan = dataclasses.replace(plan, requeue_after=again)
    if not lost:
        return plan
    already = {ref.uid for ref in plan.delete}
    gone = [_ref(view, pod) for pod in lost if pod.deletion_time is None and pod.uid not in already]
    event = Event("NodeLost", "; ".join(_why(pod) for pod in lost), "Warning")
    return dataclasses.replace(
        plan,
        delete=(*plan.delete, *gone),
        patches=(*plan.patches, *(_failed(view, pod) for pod in lost)),
        events=(*plan.events, event),
    )


def is_lost(view: View, pod: PodSeen) -> bool:
    """Whether this pod is lost and must be replaced.

    A pod of the current attempt that responds is not lost, whatever the API server knows about its node.
    """
    if pod.trouble is None or _ended(pod):
        return False
    if pod.silent is False and not view.between_attempts and _of_current_attempt(view, pod):
        return False
    if pod.deletion_time is not None and view.now >= pod.deletion_time:
        return True
    return pod.trouble != "not ready" and (pod.silent is True or _helper_is_lost(view, pod))


def healthy_again(view: View) -> tuple[Patch, ...]:
    """Reset the failure count of an index whose pod has trained for HEALTHY_AFTER."""
    progress = view.progress
    if progress is None or progress.world_size == 0:
        return ()
    zero: KubeObject = {"metadata": {"annotations": dict.fromkeys(FAILURE_COUNTS, "0")}}
    return tuple(
        Patch(_ref(view, pod), None, zero)
        for pod in view.trainers
        if pod.running and pod.earlier_failures and pod.started and view.now - pod.started >= HEALTHY_AFTER
    )


def with_nodes_watched(view: View, status: Status) -> Status:
    """`status` with the condition NodesWatched, unless nodes are watched and always were."""
    if not view.seen.nodes_watched:
        return view.mark(status, "NodesWatched", False, "Forbidden", NO_RIGHTS)
    if find_condition(status.conditions, "NodesWatched"):
        return view.mark(status, "NodesWatched", True, "Watched", "pods of a lost node are replaced elsewhere")
    return status


def _ended(pod: PodSeen) -> bool:
    return pod.phase in ("Failed", "Succeeded")


def _of_current_attempt(view: View, pod: PodSeen) -> bool:
    at_work = view.status.phase in ("Pending", "Training") and not view.spec.suspend
    return at_work and (pod.run, pod.attempt) == (view.status.run, view.status.attempt)


def _helper_is_lost(view: View, pod: PodSeen) -> bool:
    """Evaluators and preparers are not asked about it, so a short absence is tolerated."""
    if pod.component not in (names.COMPONENT_EVALUATOR, names.COMPONENT_PREPARER):
        return False
    return pod.trouble_since is None or view.now - pod.trouble_since >= EVALUATOR_PATIENCE


def _why(pod: PodSeen) -> str:
    silence = " and the pod does not respond" if pod.silent else ""
    return f"{pod.name} is marked as failed: node {pod.node} is {pod.trouble}{silence}"


def _failed(view: View, pod: PodSeen) -> Patch:
    at = view.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    condition: dict[str, Any] = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": REASON,
        "message": f"{pod.name} is marked as failed: node {pod.node} is {pod.trouble}",
        "lastTransitionTime": at,
    }
    status = {"phase": "Failed", "reason": REASON, "message": condition["message"], "conditions": [condition]}
    return Patch(_ref(view, pod), None, {"status": status}, subresource="status", strategic=True)


def _ref(view: View, pod: PodSeen) -> Ref:
    return Ref("v1", "Pod", view.training.metadata.namespace, pod.name, pod.uid)
