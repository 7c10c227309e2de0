"""The phase Publishing: an export that is committed, and good enough, becomes a model under its digest. Pure."""

from __future__ import annotations

from kinema_api import layout
from kinema_api.training import NodeCount, PublishedModel
from kinema_operator.plan import Apply, Event, Plan
from kinema_operator.storage import store_location
from kinema_operator.training.effects import Publish
from kinema_operator.training.observed import ExportSeen
from kinema_operator.training.uri import uri
from kinema_operator.training.video_model import video_model
from kinema_operator.training.view import Status, View, change


def start(view: View, status: Status) -> Plan:
    """`status`, with what else has changed, goes on to Publishing."""
    message = f"Attempt {status.attempt} has committed its model; its files are checked and copied"
    status = view.mark(change(status, phase="Publishing"), "Running", True, "Publishing", message)
    return Plan(status=status, events=(Event("Publishing", message),), requeue_after=0.0)


def publish(view: View, export: ExportSeen) -> Plan:
    """Copy the export until it is there, then end the run."""
    assert export.digest is not None
    if export.published:
        return _succeed(view, export.digest)
    prefix = layout.export_prefix(view.attempt_prefix)
    effect = Publish(view.status.run, view.status.attempt, prefix, export.digest)
    return Plan(status=view.changed(), effects=(effect,), requeue_after=0.0)


def _succeed(view: View, digest: str) -> Plan:
    location = store_location(view.spec.artifact_store, view.settings)
    address = uri(location, layout.model_prefix(digest))
    published = PublishedModel(digest=digest, uri=address, run=view.status.run, time=view.now)
    status = view.changed(
        phase="Succeeded",
        published=published,
        completion_time=view.now,
        nodes=NodeCount(desired=view.nodes),
    )
    message = f"The model is published as {address}"
    status = view.mark(status, "Succeeded", True, "Published", message)
    status = view.mark(status, "Running", False, "Succeeded", "The run is done")
    wanted = view.spec.publish
    apply: tuple[Apply, ...] = ()
    if wanted and not view.seen.model_exists:
        apply = (Apply(video_model(view.training, wanted.model), once=True),)
    return Plan(apply=apply, status=status, events=(Event("Succeeded", message),), requeue_after=0.0)
