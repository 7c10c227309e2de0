"""The conditions that tools wait for: Ready, Reconciling and Stalled, as kstatus reads them. Pure.

Each reconcile adds to a plan's status what holds for every kind: all conditions get the current observedGeneration, so
that `kubectl wait` returns after any edit; Refused lists objects that the API server refused; and three conditions say
whether the resource matches its spec. Reconciling, Stalled and Refused exist only while they are True.

Source: kstatus, sigs.k8s.io/cli-utils/pkg/kstatus, "The Ready condition" and "abnormal-true conditions".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from kinema_api import generation, serving, training
from kinema_api.base import Condition
from kinema_operator.core.conditions import MAX_MESSAGE
from kinema_operator.core.plan import KubeObject

READY: Final = "Ready"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"
REFUSED: Final = "Refused"
CONTENDED: Final = "Contended"
"""Set by another install of Kinema that watches the namespace but does not reconcile it. It expires unless renewed."""
CONTENDED_FOR: Final = timedelta(hours=24)

INVALID_SPEC: Final = "InvalidSpec"
"""Reason of Accepted, or of a model's Resolved, when the operator cannot read the spec."""

Wire = dict[str, Any]

_DONE: Final[Mapping[str, frozenset[str]]] = {
    training.KIND: frozenset({"Succeeded"}),
    serving.KIND: frozenset({"Serving", "ScaledToZero"}),
    generation.KIND: frozenset({"Succeeded"}),
}
_ENDED_BADLY: Final[Mapping[str, frozenset[str]]] = {
    training.KIND: frozenset({"Failed"}),
    generation.KIND: frozenset({"Failed", "Cancelled"}),
}
_RESTS: Final = "Suspended"
_TELLING: Final[Mapping[str, Sequence[str]]] = {
    training.KIND: ("Failed", "Suspended", "Running", "Evaluated", "Prepared", "Accepted"),
    serving.KIND: ("Resolved", "Available"),
    generation.KIND: ("Failed", "Cancelled", "Accepted", "Scheduled", "Running"),
}
"""Conditions of a kind that say why it is not ready, the most specific first."""
_REPORTED_BY_TRUE: Final = frozenset({"Failed", "Suspended", "Cancelled"})


@dataclass(frozen=True)
class Refusal:
    """An object of a plan that the API server refused."""

    what: str
    """Kind and name."""
    reason: str
    message: str

    @property
    def sentence(self) -> str:
        """The object and the reason, for a condition."""
        return f"{self.what}: {self.message}"


@dataclass(frozen=True)
class PodProblem:
    """Why a pod does not run, as reported by the scheduler or the kubelet."""

    reason: str
    message: str


@dataclass(frozen=True)
class Findings:
    """What was observed in addition to the plan's status."""

    refusals: tuple[Refusal, ...] = ()
    trouble: PodProblem | None = None


def finish(obj: KubeObject, status: Mapping[str, Any], findings: Findings, now: datetime) -> Wire:
    """`status` of a plan for `obj`, with the conditions of every kind."""
    kind, at = obj["kind"], int(obj["metadata"].get("generation") or 1)
    conditions = {
        c["type"]: {**c, "observedGeneration": at} for c in status.get("conditions") or () if not _stale(c, now)
    }
    refusal = _refusal(findings.refusals)
    wanted = [refusal] if refusal else []
    wanted += _summary(kind, str(status.get("phase") or "Pending"), conditions, findings)
    for type_ in (REFUSED, READY, RECONCILING, STALLED):
        before = conditions.pop(type_, None)
        for type_wanted, value, reason, message in wanted:
            if type_wanted == type_:
                conditions[type_] = _condition(type_, value, reason, message, before, at, now)
    return {**status, "observedGeneration": at, "conditions": [conditions[type_] for type_ in sorted(conditions)]}


def _stale(condition: Mapping[str, Any], now: datetime) -> bool:
    if condition["type"] != CONTENDED:
        return False
    return now - datetime.fromisoformat(str(condition["lastTransitionTime"]).replace("Z", "+00:00")) > CONTENDED_FOR


def with_condition(
    obj: KubeObject, type_: str, value: str, reason: str, message: str, now: datetime
) -> list[dict[str, Any]]:
    """The conditions of `obj`, including those of other writers, with this one set."""
    there = [c for c in (obj.get("status") or {}).get("conditions") or () if isinstance(c, Mapping)]
    before = next((dict(c) for c in there if c.get("type") == type_), None)
    at = int(obj["metadata"].get("generation") or 1)
    kept = [dict(c) for c in there if c.get("type") != type_]
    return [*kept, _condition(type_, value, reason, message, before, at, now)]


def trouble_of(pods: Iterable[KubeObject]) -> PodProblem | None:
    """The problem of the first of `pods`, by name, that cannot run."""
    for pod in sorted(pods, key=lambda p: str(p["metadata"]["name"])):
        found = pod_trouble(pod)
        if found:
            return PodProblem(found.reason, f"Pod {pod['metadata']['name']}: {found.message}")
    return None


def pod_trouble(pod: KubeObject) -> PodProblem | None:
    """Why a pod does not run: it is unschedulable, or a container cannot start or is in a restart loop."""
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            reason = condition.get("reason") or "Unschedulable"
            return PodProblem(str(reason), str(condition.get("message") or "no node fits"))
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason", "") in ("", "ContainerCreating", "PodInitializing"):
            continue
        ended = (container.get("lastState") or {}).get("terminated") or {}
        last = f"; it ended with exit code {ended['exitCode']}" if "exitCode" in ended else ""
        said = waiting.get("message") or "see the events of the pod"
        return PodProblem(str(waiting["reason"]), f"container {container.get('name')}: {said}{last}")
    return None


_Wanted = tuple[str, str, str, str]
"""Type, status, reason, message."""


def _refusal(refusals: Sequence[Refusal]) -> _Wanted | None:
    if not refusals:
        return None
    ordered = sorted(refusals, key=lambda r: r.what)
    return REFUSED, "True", ordered[0].reason, "; ".join(r.sentence for r in ordered)


def _summary(kind: str, phase: str, conditions: Mapping[str, Wire], findings: Findings) -> list[_Wanted]:
    reason, message = _why(kind, phase, conditions, findings)
    unreadable = _unreadable(conditions)
    if phase in _DONE[kind] and not unreadable:
        return [(READY, "True", phase, "")]
    if phase in _ENDED_BADLY.get(kind, ()) or unreadable:
        return [(READY, "False", reason, message), (STALLED, "True", reason, message)]
    if phase == _RESTS:
        return [(READY, "False", _RESTS, message)]
    return [(READY, "False", reason, message), (RECONCILING, "True", reason, message)]


def _unreadable(conditions: Mapping[str, Wire]) -> bool:
    accepted = conditions.get("Accepted") or conditions.get("Resolved") or {}
    return accepted.get("status") == "False" and accepted.get("reason") == INVALID_SPEC


def _why(kind: str, phase: str, conditions: Mapping[str, Wire], findings: Findings) -> tuple[str, str]:
    if phase not in _ENDED_BADLY.get(kind, ()) and not _unreadable(conditions):
        refusal = _refusal(findings.refusals)
        if refusal:
            return refusal[2], refusal[3]
        if findings.trouble and phase != _RESTS:
            return findings.trouble.reason, findings.trouble.message
    for type_ in _TELLING[kind] if not _unreadable(conditions) else ("Accepted", "Resolved"):
        found = conditions.get(type_)
        if found and (found["status"] == "True") == (type_ in _REPORTED_BY_TRUE):
            return found["reason"], found.get("message") or ""
    return phase, ""


def _condition(
    type_: str, value: str, reason: str, message: str, before: Wire | None, generation_: int, now: datetime
) -> Wire:
    made = Condition.model_validate(
        {
            "type": type_,
            "status": value,
            "reason": reason[:128],
            "message": message[:MAX_MESSAGE],
            "lastTransitionTime": now.replace(microsecond=0),
            "observedGeneration": generation_,
        }
    ).to_wire()
    if before and before.get("status") == value and before.get("lastTransitionTime"):
        made["lastTransitionTime"] = before["lastTransitionTime"]
    return made
