"""The start of a run: a new one, or one found in the bucket. Pure."""

from __future__ import annotations

from typing import Final

from kinema_api.base import find_condition
from kinema_api.training_status import NodeCount, RunRecord
from kinema_operator.core.plan import Event, Plan
from kinema_operator.core.stores import store_location
from kinema_operator.training.objects import ownership
from kinema_operator.training.observed import RunFound
from kinema_operator.training.uri import uri
from kinema_operator.training.view import Status, View, change

MAX_HISTORY: Final = 20
"""Most runs in `status.history`."""


def fresh(view: View, found: RunFound | None) -> Status:
    """The status of a new run; `found` is the newest run in the bucket, if there is one."""
    before = view.status
    if found:
        # Do not overwrite folders of runs that the status does not know.
        before = change(before, run=found.run)
    status = Status(
        observed_generation=view.training.metadata.generation,
        run=before.run + 1,
        run_id=view.spec.run_id,
        nodes=NodeCount(desired=view.nodes),
        selector=ownership.scale_selector(view.training),
        published=before.published,
        start_time=view.now,
        history=_history(view),
        conditions=before.conditions,
    )
    status = view.mark(status, "Accepted", True, "Valid", "The spec is valid")
    for type_ in ("Prepared", "Evaluated", "Succeeded", "Failed"):
        if find_condition(status.conditions, type_):
            status = view.mark(status, type_, False, "NewRun", f"Run {status.run} has begun")
    return view.mark(status, "Running", False, "Queued", f"Run {status.run} has begun")


def restored(view: View, found: RunFound) -> Plan:
    """The status of a run that was found in the bucket; it continues as after the loss of a Job."""
    location = store_location(view.spec.artifact_store, view.settings)
    message = f"Run {found.run} was found in the bucket up to attempt {found.attempt} and resumes from there"
    status = Status(
        observed_generation=view.training.metadata.generation,
        phase="Training",
        run=found.run,
        run_id=view.spec.run_id,
        attempt=found.attempt,
        resume_from=uri(location, found.older) if found.older else None,
        nodes=NodeCount(desired=view.nodes),
        selector=ownership.scale_selector(view.training),
        start_time=view.now,
        conditions=view.status.conditions,
    )
    status = view.mark(status, "Accepted", True, "Valid", "The spec is valid")
    status = view.mark(status, "Running", False, "Restored", message)
    return Plan(status=status, events=(Event("Restored", message),), requeue_after=0.0)


def _history(view: View) -> tuple[RunRecord, ...]:
    before = view.status
    if before.run == 0:
        return ()
    published = before.published
    record = RunRecord(
        run=before.run,
        run_id=before.run_id,
        phase=before.phase if before.phase in ("Succeeded", "Failed") else "Superseded",
        attempts=before.attempt,
        digest=published.digest if published and published.run == before.run else None,
        completed=before.completion_time or view.now,
    )
    return (record, *before.history)[:MAX_HISTORY]
