"""The end of a failed run, in any phase. Pure."""

from __future__ import annotations

from kinema_api.training_status import NodeCount
from kinema_operator.core.plan import Event, Plan
from kinema_operator.training.view import Status, View, change


def fail(view: View, status: Status, reason: str, message: str) -> Plan:
    """The plan that ends the run as Failed, with the other changes in `status`."""
    status = change(status, phase="Failed", nodes=NodeCount(desired=view.nodes), completion_time=view.now)
    status = view.mark(status, "Failed", True, reason, message)
    status = view.mark(status, "Succeeded", False, reason, "The run has failed")
    status = view.mark(status, "Running", False, "Failed", "The run has failed")
    return Plan(status=status, events=(Event("Failed", message, "Warning"),), requeue_after=0.0)
