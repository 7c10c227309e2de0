"""Converts Jobs and pods of the API server into the data that a plan needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from kinema_api import launch, names
from kinema_operator.core.plan import KubeObject
from kinema_operator.training.failure import parse_termination_message
from kinema_operator.training.objects.rendezvous_pod import ANNOTATION_GENERATION, ANNOTATION_MIN_NODES
from kinema_operator.training.observed import JobSeen, PodEnd, PodSeen

FAILURE_COUNTS: Final = (
    "batch.kubernetes.io/job-index-failure-count",
    "batch.kubernetes.io/job-index-ignored-failure-count",
)
"""Annotations with the number of failures of an index, by the Job controller (KEP-3850)."""
_FAULTLESS_WAITING = frozenset({"", "ContainerCreating", "PodInitializing"})
MAX_DIGITS: Final = 18


def read_job(job: KubeObject) -> JobSeen:
    """A Job of a training."""
    metadata, spec = job["metadata"], job["spec"]
    finished: Literal["Complete", "Failed"] | None = None
    message = ""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            finished = condition["type"]
            message = condition.get("message") or condition.get("reason") or ""
    run, attempt = _attempt(metadata)
    labels = metadata.get("labels") or {}
    return JobSeen(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        run=run or 0,
        attempt=attempt or 0,
        parallelism=spec.get("parallelism", 1),
        component=labels.get(names.LABEL_COMPONENT, ""),
        model=labels.get(names.LABEL_DIGEST, ""),
        image=_image(job),
        finished=finished,
        message=message,
        deleting="deletionTimestamp" in metadata,
        suspended=bool(spec.get("suspend")),
        queue=labels.get(names.LABEL_QUEUE, ""),
        created=_time(metadata.get("creationTimestamp")),
        subdomain=_template(job).get("subdomain") or "",
    )


def read_pod(pod: KubeObject) -> PodSeen:
    """A trainer, an evaluator, a publisher or a rendezvous pod."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    component = (metadata.get("labels") or {}).get(names.LABEL_COMPONENT, "")
    state = _state(status, component)
    began = (state.get("running") or state.get("terminated") or {}).get("startedAt")
    run, attempt = _attempt(metadata)
    annotations = metadata.get("annotations") or {}
    return PodSeen(
        name=metadata["name"],
        uid=metadata["uid"],
        component=component,
        run=run or 0,
        attempt=attempt or 0,
        phase=status.get("phase", "Pending"),
        started=_time(began),
        waiting=_waiting(status, state),
        deletion_time=_time(metadata.get("deletionTimestamp")),
        deleted=_deleted(metadata),
        end=_end(status, state),
        node=(pod.get("spec") or {}).get("nodeName") or "",
        min_nodes=_number(annotations.get(ANNOTATION_MIN_NODES)),
        generation=_number(annotations.get(ANNOTATION_GENERATION)),
        resource_version=metadata.get("resourceVersion") or "",
        subdomain=(pod.get("spec") or {}).get("subdomain") or "",
        earlier_failures=_earlier_failures(metadata),
    )


def _deleted(metadata: Mapping[str, Any]) -> datetime | None:
    gone = _time(metadata.get("deletionTimestamp"))
    return gone and gone - timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)


def _state(status: Mapping[str, Any], component: str) -> Mapping[str, Any]:
    """State of the container that is named after the pod's component.

    An admission webhook may have added other containers.
    """
    for container in status.get("containerStatuses") or ():
        if container.get("name") == component:
            found: Mapping[str, Any] = container.get("state") or {}
            return found
    return {}


def _earlier_failures(metadata: Mapping[str, Any]) -> int:
    annotations = metadata.get("annotations") or {}
    return sum(_number(annotations.get(name)) or 0 for name in FAILURE_COUNTS)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None


def _template(job: KubeObject) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (job["spec"].get("template") or {}).get("spec") or {}
    return found


def _image(job: KubeObject) -> str:
    containers = _template(job).get("containers") or ()
    return next((str(c.get("image") or "") for c in containers if c.get("name") == launch.TRAINER_ROLE), "")


def _end(status: Mapping[str, Any], state: Mapping[str, Any]) -> PodEnd | None:
    terminated = state.get("terminated")
    disrupted = any(
        condition["type"] == "DisruptionTarget" and condition["status"] == "True"
        for condition in status.get("conditions") or ()
    )
    if terminated:
        said = terminated.get("message") or ""
        return PodEnd(
            exit_code=terminated["exitCode"],
            reason=terminated.get("reason") or "",
            message=said.strip().rpartition("\n")[2],
            disrupted=disrupted,
            word=parse_termination_message(said),
            finished=_time(terminated.get("finishedAt")),
        )
    if status.get("phase") == "Failed":
        return PodEnd(reason=status.get("reason") or "", message=status.get("message") or "", disrupted=disrupted)
    return None


def _waiting(status: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message") or condition.get("reason") or "")
    if "running" in state or "terminated" in state:
        return ""
    if fault := _fault(state):
        return fault
    # An added container can block the pod too.
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if fault := _fault(container.get("state") or {}):
            return f"container {container.get('name', '')}: {fault}"
    return ""


def _fault(state: Mapping[str, Any]) -> str:
    waiting = state.get("waiting") or {}
    if waiting.get("reason", "") in _FAULTLESS_WAITING:
        return ""
    return f"{waiting['reason']}: {waiting.get('message') or 'see the events of the pod'}"


def _attempt(metadata: Mapping[str, Any]) -> tuple[int | None, int | None]:
    labels = metadata.get("labels") or {}
    run, attempt = labels.get(names.LABEL_RUN, ""), labels.get(names.LABEL_ATTEMPT, "")
    return int(run) if run.isdigit() else None, int(attempt) if attempt.isdigit() else None


def _time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value.replace("Z", "+00:00")) if value else None
