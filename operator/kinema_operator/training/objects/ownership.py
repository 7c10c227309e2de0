"""Labels and owner references of a training's objects."""

from __future__ import annotations

from typing import Any

from kinema_api import names
from kinema_api.training import KIND, VideoModelTraining
from kinema_operator.core import pod_template
from kinema_operator.core.ownership import controller_reference

JsonDict = dict[str, Any]


def labels(
    training: VideoModelTraining, component: str, run: int | None = None, attempt: int | None = None
) -> JsonDict:
    """Labels of an object; those of one attempt carry its run and attempt."""
    found = names.common_labels(training.metadata.name, component)
    found[names.LABEL_TRAINING] = training.metadata.name
    found[names.LABEL_TRAINING_UID] = training.metadata.uid
    if run is not None:
        found[names.LABEL_RUN] = str(run)
    if attempt is not None:
        found[names.LABEL_ATTEMPT] = str(attempt)
    return found


def selector(training: VideoModelTraining, component: str, run: int, attempt: int) -> dict[str, str]:
    """Label selector for the pods of one component of one attempt."""
    return {
        names.LABEL_TRAINING: training.metadata.name,
        names.LABEL_COMPONENT: component,
        names.LABEL_RUN: str(run),
        names.LABEL_ATTEMPT: str(attempt),
    }


def scale_selector(training: VideoModelTraining) -> str:
    """Label selector of the trainers, as text, for the scale subresource."""
    return f"{names.LABEL_TRAINING}={training.metadata.name},{names.LABEL_COMPONENT}={names.COMPONENT_TRAINER}"


def shared_metadata(namespace: str, name: str, component: str) -> JsonDict:
    """Metadata of an object that all trainings of a namespace share: it has no owner."""
    return {"name": name, "namespace": namespace, "labels": names.common_labels(name, component)}


def metadata(training: VideoModelTraining, name: str, object_labels: JsonDict) -> JsonDict:
    """Metadata of an object that the training owns."""
    return {
        "name": name,
        "namespace": training.metadata.namespace,
        "labels": object_labels,
        "ownerReferences": [controller_reference(KIND, training.metadata)],
    }


def job_metadata(training: VideoModelTraining, name: str, object_labels: JsonDict) -> JsonDict:
    """Metadata of a Job: it has the training's own labels as well, by which people and queues know it."""
    return metadata(training, name, {**pod_template.job_labels(training.metadata.labels), **object_labels})
