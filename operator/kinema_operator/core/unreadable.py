"""The plan of a resource that this operator cannot parse: set a condition and change nothing else.

The resource may have a phase or a field of a newer operator, so the other fields of its status are kept.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from kinema_api import generation, serving
from kinema_api.errors import InvalidManifest
from kinema_operator.core.kstatus import INVALID_SPEC, READY, with_condition
from kinema_operator.core.plan import Event, KubeObject, Plan, WireStatus

UNREADABLE_STATUS: Final = "UnreadableStatus"
_ACCEPTED: Final = {serving.KIND: "Resolved"}
_OVER: Final = frozenset({"Succeeded", "Failed", "Cancelled"})


def leave_alone(obj: KubeObject, error: InvalidManifest, now: datetime) -> Plan:
    """Report in a condition that this operator cannot parse the resource."""
    status: dict[str, Any] = obj.get("status") or {}
    if str(error).startswith("status."):
        message = (
            f"{error}; it was written by another version of the operator, and this one does not change it: upgrade "
            "the operator"
        )
        return _told(obj, status, READY, UNREADABLE_STATUS, message, now, finished=True)
    if obj["kind"] == generation.KIND and status.get("phase") in _OVER:
        return Plan()  # It has ended: its spec cannot change any more, and its result is kept.
    type_ = _ACCEPTED.get(obj["kind"], "Accepted")
    return _told(obj, status, type_, INVALID_SPEC, str(error), now, finished=False)


def _told(
    obj: KubeObject, status: dict[str, Any], type_: str, reason: str, message: str, now: datetime, *, finished: bool
) -> Plan:
    conditions = with_condition(obj, type_, "False", reason, message, now)
    there = next((c for c in status.get("conditions") or () if isinstance(c, dict) and c.get("type") == type_), {})
    events = () if there.get("reason") == reason else (Event(reason, message, "Warning"),)
    return Plan(status=WireStatus({**status, "conditions": conditions}, finished=finished), events=events)
