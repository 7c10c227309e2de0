"""The fields of a server's pod that plans need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from kinema_api import names
from kinema_operator.core.plan import KubeObject, Ref

DELETION_COST_ANNOTATION: Final = "controller.kubernetes.io/pod-deletion-cost"
TEMPLATE_HASH_LABEL: Final = "pod-template-hash"


UNSCHEDULABLE: Final = "Unschedulable"
FAILING: Final = "ServerFailing"
"""Reasons of a condition when no server runs; the message has the pod's own reason."""
_NO_TROUBLE: Final = frozenset({"ContainerCreating", "PodInitializing"})
_LONGEST_WORDS: Final = 600


@dataclass(frozen=True)
class ServerProblem:
    """Why a pod does not run."""

    reason: str
    """UNSCHEDULABLE or FAILING."""
    message: str
    since: datetime | None = None
    """Time since which it cannot be scheduled."""


@dataclass(frozen=True)
class ServerPod:
    """A server as the cluster sees it."""

    namespace: str
    name: str
    uid: str
    resource_version: str = ""
    short_digest: str = ""
    address: str | None = None
    """Pod IP."""
    ready: bool = False
    terminating: bool = False
    ended: bool = False
    """Its containers have ended and are not restarted."""
    deletion_cost: int = 0
    disrupted: str | None = None
    """Why the cluster evicts it or has lost its node: such an end is not counted as a failure."""
    template: str = ""
    """Hash of its pod template, as in the name of its ReplicaSet."""
    created: str = ""
    """RFC 3339 in UTC."""
    trouble: ServerProblem | None = None
    """Why it does not run, as reported by the scheduler or the kubelet."""
    owner_uid: str | None = None
    """UID of its controller, a ReplicaSet."""

    @property
    def available(self) -> bool:
        """Whether a request may be assigned to it."""
        going = self.terminating or self.ended or self.disrupted is not None
        return self.ready and not going and self.address is not None

    @property
    def ref(self) -> Ref:
        """A reference to this pod, with its UID."""
        return Ref("v1", "Pod", self.namespace, self.name, self.uid)


def server_pod(manifest: KubeObject) -> ServerPod:
    """A Pod of the API server as a ServerPod."""
    metadata: Mapping[str, Any] = manifest["metadata"]
    status: Mapping[str, Any] = manifest.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    labels = metadata.get("labels") or {}
    owners = [owner for owner in metadata.get("ownerReferences") or () if owner.get("controller")]
    return ServerPod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata.get("resourceVersion", ""),
        short_digest=labels.get(names.LABEL_DIGEST, ""),
        address=status.get("podIP") or None,
        ready=_is(conditions, "Ready", "True"),
        terminating=bool(metadata.get("deletionTimestamp")),
        ended=status.get("phase") in ("Succeeded", "Failed"),
        deletion_cost=_deletion_cost(metadata.get("annotations") or {}),
        disrupted=_disruption(status, conditions),
        template=labels.get(TEMPLATE_HASH_LABEL, ""),
        created=metadata.get("creationTimestamp") or "",
        trouble=_trouble(metadata["name"], status, conditions),
        owner_uid=owners[0].get("uid") if owners else None,
    )


def newest_template(servers: Iterable[ServerPod]) -> str:
    """Hash of the current pod template: that of the newest pod."""
    return max(((s.created, s.template) for s in servers), default=("", ""))[1]


def _is(conditions: Mapping[str, Mapping[str, Any]], type_: str, status: str) -> bool:
    return conditions.get(type_, {}).get("status") == status


def _disruption(status: Mapping[str, Any], conditions: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The reason of an eviction, a preemption or the loss of the node.

    The kubelet sets Ready and ContainersReady together; only the node controller, after it has lost the node, sets
    Ready alone to False.
    """
    target = conditions.get("DisruptionTarget", {})
    if target.get("status") == "True":
        return str(target.get("reason") or "DisruptionTarget")
    if status.get("phase") == "Failed" and status.get("reason"):
        return str(status["reason"])
    if not _is(conditions, "Ready", "True") and _is(conditions, "ContainersReady", "True"):
        gates = {c for c in conditions if "/" in c}
        return None if gates else "NodeNotReady"
    return None


def _trouble(name: str, status: Mapping[str, Any], conditions: Mapping[str, Mapping[str, Any]]) -> ServerProblem | None:
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        words = f"{name}: {scheduled.get('reason')}: {scheduled.get('message') or 'no node fits'}"
        return ServerProblem(UNSCHEDULABLE, words[:_LONGEST_WORDS], _time(scheduled.get("lastTransitionTime")))
    for container in status.get("containerStatuses") or ():
        state = container.get("state") or {}
        waiting = state.get("waiting") or {}
        last = (container.get("lastState") or {}).get("terminated") or state.get("terminated") or {}
        if waiting.get("reason") and waiting["reason"] not in _NO_TROUBLE:
            words = f"{name}: {waiting['reason']}{_more(waiting.get('message'))}{_last_end(last)}"
            return ServerProblem(FAILING, words[:_LONGEST_WORDS])
        if last and not container.get("ready"):
            return ServerProblem(FAILING, f"{name}:{_last_end(last)}"[:_LONGEST_WORDS])
    return None


def _last_end(terminated: Mapping[str, Any]) -> str:
    if not terminated:
        return ""
    code = terminated.get("exitCode")
    return f" its container ended with {terminated.get('reason', 'Error')} ({code}){_more(terminated.get('message'))}"


def _more(message: Any) -> str:
    text = str(message or "").strip()
    return f": {text}" if text else ""


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _deletion_cost(annotations: Mapping[str, str]) -> int:
    try:
        return int(annotations.get(DELETION_COST_ANNOTATION, "0"))
    except ValueError:
        return 0
