"""How a run ends in failure, whatever phase it was in. Pure."""

from __future__ import annotations

from kinema_api.training_status import NodeCount
from kinema_operator.core.plan import Event, Plan
from kinema_operator.training.view import Status, View, change


def fail(view: View, status: Status, reason: str, message: str) -> Plan:
    """`status`, with what else has changed, becomes that of a run that has failed."""
    status = change(status, phase="Failed", nodes=NodeCount(desired=view.nodes), completion_time=view.now)
    status = view.mark(status, "Failed", True, reason, message)
    status = view.mark(status, "Succeeded", False, reason, "The run has failed")
    status = view.mark(status, "Running", False, "Failed", "The run has failed")
    return Plan(status=status, events=(Event("Failed", message, "Warning"),), requeue_after=0.0)
