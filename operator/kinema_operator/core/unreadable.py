"""What is done about a resource that this operator cannot read: it is told so, once, and nothing else is touched.

A newer operator may have written a phase, or people may use a field, that this one does not know. Whatever it knew is
worth more than what this one could put in its place, so every other field of the status stays as it is.
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
    """Say that this operator does not understand the resource; a later version of it may."""
    status: dict[str, Any] = obj.get("status") or {}
    if str(error).startswith("status."):
        message = (
            f"{error}; it was written by another version of the operator, and this one does not change it: upgrade "
            "the operator"
        )
        return _told(obj, status, READY, UNREADABLE_STATUS, message, now, finished=True)
    if obj["kind"] == generation.KIND and status.get("phase") in _OVER:
        return Plan()  # Its spec cannot change any more, and what came of it stands.
    type_ = _ACCEPTED.get(obj["kind"], "Accepted")
    return _told(obj, status, type_, INVALID_SPEC, str(error), now, finished=False)


def _told(
    obj: KubeObject, status: dict[str, Any], type_: str, reason: str, message: str, now: datetime, *, finished: bool
) -> Plan:
    conditions = with_condition(obj, type_, "False", reason, message, now)
    there = next((c for c in status.get("conditions") or () if isinstance(c, dict) and c.get("type") == type_), {})
    events = () if there.get("reason") == reason else (Event(reason, message, "Warning"),)
    return Plan(status=WireStatus({**status, "conditions": conditions}, finished=finished), events=events)
