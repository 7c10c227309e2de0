"""When a training's pods need storage credentials, and the status while the store issues none. Pure."""

from __future__ import annotations

import dataclasses

from kinema_operator.core.plan import Effect, Plan
from kinema_operator.training.effects import IssueCredentials
from kinema_operator.training.view import Status, View, change


def noted(view: View, plan: Plan) -> Plan:
    """`plan` with the credentials' expiry in the status, for an operator without permission to read Secrets."""
    expire = view.seen.credentials_expire
    if expire is None or not isinstance(plan.status, Status) or view.status.phase in ("Publishing", "Preparing"):
        return plan
    return dataclasses.replace(plan, status=change(plan.status, credentials_expire=expire))


def renewal(view: View) -> tuple[Effect, ...]:
    """Renew the credentials after half of their lifetime."""
    if renewal_wait(view) > 0:
        return ()
    publishes = view.export.digest if view.status.phase == "Publishing" and view.export else None
    return (IssueCredentials(publishes, prepares=view.status.phase == "Preparing"),)


def upkeep(view: View) -> tuple[Effect, ...]:
    """Renew existing credentials of pods that still run; create none for pods that are terminating."""
    return renewal(view) if view.seen.credentials_expire else ()


def renewal_wait(view: View) -> float:
    """Seconds until the credentials are renewed; zero or less: now."""
    expire = view.seen.credentials_expire
    if expire is None:
        return 0.0
    return (expire - view.now).total_seconds() - view.settings.credentials_seconds / 2


def retry_wait(view: View) -> float:
    """Seconds until a store that issued none is asked again."""
    return view.settings.store_probe_seconds if view.seen.storage_problem else 0.0


def waits_for_store(view: View, status: Status) -> Status:
    """`status` with the store's problem as the reason for having no pods."""
    problem = view.seen.storage_problem
    return view.mark(status, "Running", False, problem.reason, problem.message) if problem else status
