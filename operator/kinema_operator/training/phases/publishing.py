"""The phase Publishing: a Job copies the committed export to the model's folder. Pure."""

from __future__ import annotations

from kinema_api import layout
from kinema_api.training_status import NodeCount, PublishedModel
from kinema_api.wire import EXPORT_BROKEN_EXIT
from kinema_operator.core.plan import Apply, Event, Plan
from kinema_operator.core.stores import store_location
from kinema_operator.training import children, failure
from kinema_operator.training.objects.video_model import video_model
from kinema_operator.training.observed import ExportSeen, JobSeen
from kinema_operator.training.phases import credentials, ending
from kinema_operator.training.uri import uri
from kinema_operator.training.view import Status, View, change


def start(view: View, status: Status) -> Plan:
    """The plan that starts publishing, with the other changes in `status`."""
    message = f"Attempt {status.attempt} has committed its model; its files are being verified and copied"
    status = view.mark(change(status, phase="Publishing"), "Running", True, "Publishing", message)
    return Plan(status=status, events=(Event("Publishing", message),), requeue_after=0.0)


def publish(view: View, export: ExportSeen) -> Plan:
    """Run the Job until the model exists, then end the run."""
    digest = export.digest
    assert digest is not None
    if export.published:
        return _succeed(view, digest)
    job = view.publication_job(digest)
    if job and job.finished:
        return _again(view, job)
    effects = credentials.renewal(view)
    gone = children.publications(view, but=job)
    if view.seen.credentials_expire is None:
        # Without its Secret a pod would wait for its volume.
        status = credentials.waits_for_store(view, view.changed())
        return Plan(delete=gone, status=status, effects=effects, requeue_after=credentials.retry_wait(view))
    return Plan(
        apply=() if job else children.publication_objects(view, export),
        delete=gone,
        status=_publishing(view),
        effects=effects,
        requeue_after=max(0.0, credentials.renewal_wait(view)),
    )


def broken(view: View, export: ExportSeen) -> str:
    """Why the export can never be published, according to the publisher; empty if it can."""
    job = view.publication_job(export.digest or "")
    if job is None or job.finished != "Failed":
        return ""
    ends = [(pod, pod.end) for pod in view.publishers if pod.end and pod.end.exit_code == EXPORT_BROKEN_EXIT]
    return failure.describe(*ends[0]) if ends else ""


def _publishing(view: View) -> Status:
    waiting = "; ".join(sorted({pod.waiting for pod in view.publishers if pod.waiting and not pod.end}))
    why = f"; its pod is waiting: {waiting}" if waiting else ""
    message = f"The files of the model of attempt {view.status.attempt} are being verified and copied{why}"
    return view.mark(view.changed(), "Running", True, "Publishing", message)


def _again(view: View, job: JobSeen) -> Plan:
    """The plan after a failed Job: the export may be complete, so the Job is created again."""
    found = failure.of_job(view.publishers, job.message or f"Job {job.name} has ended without a model")
    message = f"The model could not be copied: {found.message}"
    if found.failure_class == "user_error":
        return ending.fail(view, view.changed(), found.reason, f"{message}; {failure.ADVICE['user_error']}")
    status = view.mark(view.changed(), "Running", True, "PublishingFailed", f"{message}; the operator retries")
    return Plan(
        delete=children.publications(view, but=None), status=status, requeue_after=view.settings.store_probe_seconds
    )


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
    status = view.mark(status, "Running", False, "Succeeded", "The run is complete")
    wanted = view.spec.publish
    apply: tuple[Apply, ...] = ()
    if wanted and not view.seen.model_exists:
        apply = (Apply(video_model(view.training, wanted.model), once=True),)
    return Plan(apply=apply, status=status, events=(Event("Succeeded", message),), requeue_after=0.0)
