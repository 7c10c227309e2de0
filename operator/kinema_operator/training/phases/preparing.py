"""The phase Preparing: a Job makes datasets of the run's recorded clips before its first attempt. Pure.

`prepared.json`, which its pods write last, commits them: the run goes on as soon as it is there, whatever the Job says.
What the pods have done stays in the bucket, so a suspension or a failure costs no more than what was in hand.
"""

from __future__ import annotations

from typing import Final

from kinema_api.prepare import PreparedDataset, PrepareProgress
from kinema_api.training_status import DatasetStatus, FailureClass, NodeCount
from kinema_operator.core.egress import is_allowed, origin_of
from kinema_operator.core.plan import Event, Plan
from kinema_operator.core.stores import FolderNotAllowed, folder_prefix, store_location
from kinema_operator.training import children, failure
from kinema_operator.training.failure import Failure
from kinema_operator.training.phases import credentials, ending, next_attempt
from kinema_operator.training.view import Status, View, change

_ADVICE: Final[dict[FailureClass, str]] = {
    "out_of_memory": "give worker.resources more memory, with a new runId",
    "hardware": failure.ADVICE["hardware"],
    "network": "check that pods reach the object store, then set a new runId",
    "user_error": "correct the clips or spec.data and set a new runId",
}
_OTHER_ADVICE: Final = "see the logs of the preparing pods, then set a new runId"
_SHOWN_REASONS: Final = 3
_RETRIED_AS_UNKNOWN: Final = frozenset({"numerics", "stall"})
"""Failure classes of trainers alone; a preparing pod that reports one is retried as unknown."""


def refused(view: View) -> tuple[str, str] | None:
    """(reason, message) why the folders or the endpoint of the spec may not be used; None: they may."""
    location = store_location(view.spec.artifact_store, view.settings)
    namespace = view.training.metadata.namespace
    for clips in view.spec.data.videos:
        try:
            folder_prefix(clips.uri, namespace, location.bucket, view.spec.artifact_store)
        except FolderNotAllowed as error:
            return "FolderNotAllowed", str(error)
    endpoint = view.spec.data.captioner
    if endpoint and not is_allowed(origin_of(endpoint.url), "", view.settings.allowed_caption_endpoints):
        return "EndpointNotAllowed", (
            f"the captioning endpoint {origin_of(endpoint.url)} is not on the list of allowed ones: remove "
            "captions.endpoint, with a new runId, or ask an administrator to add it (allowedCaptionEndpoints in the "
            "chart's values)"
        )
    return None


def start(view: View, status: Status) -> Plan:
    """The plan that starts preparing, with the other changes in `status`."""
    count = len(view.spec.data.videos)
    folders = "1 folder is" if count == 1 else f"{count} folders are"
    message = f"The recorded clips of {folders} prepared before the first attempt"
    status = change(status, phase="Preparing", not_before=None, nodes=NodeCount(desired=view.nodes))
    status = view.mark(status, "Prepared", "Unknown", "Preparing", message)
    status = view.mark(status, "Running", True, "Preparing", message)
    return Plan(status=status, events=(Event("Preparing", message),), requeue_after=0.0)


def follow(view: View) -> Plan:
    """The plan while clips are prepared."""
    seen = view.prepared
    if seen and seen.dataset:
        return _conclude(view, seen.dataset)
    if seen and seen.problem:
        return _end(view, Failure("user_error", seen.problem))
    found = _sign_of_failure(view)
    if found is None:
        return _go_on(view)
    if seen is None:
        # The result may be there: without a look at the store nothing is concluded.
        status = credentials.waits_for_store(view, view.changed())
        return Plan(status=status, requeue_after=view.settings.store_probe_seconds)
    return _end(view, found)


def _sign_of_failure(view: View) -> Failure | None:
    job = view.preparation_job
    if found := failure.fatal(view.preparers):
        return found
    if job is None or job.finished is None:
        return None
    if job.finished == "Complete":
        return Failure("unknown", "the preparing pods ended without a result")
    return failure.of_job(view.preparers, job.message)


def _end(view: View, found: Failure) -> Plan:
    """Preparing again after a wait, as often as failures of this class may recur, or the end of the run."""
    failure_class: FailureClass = "unknown" if found.failure_class in _RETRIED_AS_UNKNOWN else found.failure_class
    earlier = view.status.restarts.get(failure_class, 0)
    if failure.budget_spent(failure_class, earlier, view.settings):
        tries = f" after {earlier + 1} failures of this kind" if earlier else ""
        advice = _ADVICE.get(failure_class, _OTHER_ADVICE)
        message = f"The clips could not be prepared: {found.message}{tries}; {advice}"
        status = view.mark(view.changed(), "Prepared", False, "PreparationFailed", message)
        return ending.fail(view, status, "PreparationFailed", message)
    wait = failure.backoff(failure_class, earlier, view.settings)
    again = f"in {int(wait.total_seconds())} s" if wait else "at once"
    changes = next_attempt.changes_after(view, found)
    message = f"The clips could not be prepared: {found.message}; {changes.sentence}the operator tries again {again}"
    status = view.changed(
        phase="Pending",
        nodes=NodeCount(desired=view.nodes),
        restarts={**view.status.restarts, failure_class: earlier + 1},
        not_before=view.now + wait,
        **changes.fields,
    )
    status = view.mark(status, "Prepared", False, found.reason, message)
    status = view.mark(status, "Running", False, found.reason, message)
    return Plan(status=status, events=(Event("PreparationFailed", message, "Warning"),), requeue_after=0.0)


def _go_on(view: View) -> Plan:
    if why := refused(view):
        status = view.mark(view.changed(), "Running", False, *why)
        return Plan(delete=children.of_every_attempt(view, keep_finished_job=False), status=status)
    status, effects = _running(view), credentials.renewal(view)
    if view.seen.credentials_expire is None:
        # Without its Secret a pod would wait for its volume.
        status = credentials.waits_for_store(view, status)
        return Plan(status=status, effects=effects, requeue_after=credentials.retry_wait(view))
    job = view.preparation_job
    waits = job is None and bool(children.preparation_jobs(view))
    return Plan(
        apply=(children.policy(view), *(() if waits else children.preparation_objects(view))),
        patches=children.resize(view, job),
        delete=children.of_other_attempts(view),
        status=status,
        effects=effects,
        requeue_after=children.LOOK_AGAIN_SECONDS if waits else _look_again(view),
        words_may_wait=True,
    )


def _look_again(view: View) -> float:
    renewal = max(0.0, credentials.renewal_wait(view))
    at_work = any(pod.running for pod in view.preparers)
    return min(renewal, view.settings.progress_interval_seconds) if at_work else renewal


def _running(view: View) -> Status:
    running = sum(pod.running for pod in view.preparers)
    status = view.changed(nodes=NodeCount(desired=view.nodes, ready=running))
    told = view.prepared.progress if view.prepared else None
    message = f"{running} of {view.nodes} pods prepare recorded clips{_so_far(told)}{_waiting(view)}"
    status = view.mark(status, "Prepared", "Unknown", "Preparing", message)
    return view.mark(status, "Running", True, "Preparing", message)


def _waiting(view: View) -> str:
    job = view.preparation_job
    if job and job.suspended:
        return f"; Job {job.name} is suspended" + (f" in the queue {job.queue}" if job.queue else "")
    waiting = "; ".join(sorted({pod.waiting for pod in view.preparers if pod.waiting and not pod.end}))
    return f"; a pod is waiting: {waiting}" if waiting else ""


def _so_far(told: PrepareProgress | None) -> str:
    if told is None or not told.total:
        return ""
    return f": {min(told.done, told.total):,} of {told.total:,} files and parts of {told.uri}"


def _conclude(view: View, dataset: DatasetStatus) -> Plan:
    message = f"{_counts(dataset)}; the report is {dataset.report_uri}"
    reused = all(made.reused for made in dataset.datasets)
    # Failures of preparing are none of the attempts that follow.
    restarts = {} if view.status.attempt == 0 else view.status.restarts
    status = view.changed(
        phase="Pending",
        dataset=dataset,
        restarts=restarts,
        nodes=NodeCount(desired=view.nodes),
        not_before=None if view.status.attempt == 0 else view.now,  # a run restored from a backup had attempts
    )
    status = view.mark(status, "Prepared", True, "Reused" if reused else "Prepared", message)
    status = view.mark(status, "Running", False, "Prepared", "The clips are prepared, and the first attempt follows")
    return Plan(
        delete=children.of_every_attempt(view, keep_finished_job=False),
        status=status,
        events=(Event("Prepared", message),),
        requeue_after=0.0,
    )


def _counts(dataset: DatasetStatus) -> str:
    inputs = sum(made.inputs for made in dataset.datasets)
    kept = f"{dataset.samples:,} clips of {inputs:,} files, {_length(dataset.seconds)} in all"
    known = sum(made.reused for made in dataset.datasets)
    again = f", {known} of {len(dataset.datasets)} datasets were there already" if known else ""
    return f"{kept}{again}{_left_out(dataset.datasets)}"


def _left_out(datasets: tuple[PreparedDataset, ...]) -> str:
    counts: dict[str, int] = {}
    for made in datasets:
        for reason, count in made.dropped.items():
            counts[reason] = counts.get(reason, 0) + count
    if not counts:
        return ""
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN_REASONS]
    return f"; {sum(counts.values()):,} were left out ({', '.join(f'{reason} {count:,}' for reason, count in most)})"


def _length(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
