"""The VideoModel that follows a training: made when there is none of that name, and left alone from then on.

It has no owner reference: a model outlives the training that made it, and belongs to whoever edits it.
"""

from __future__ import annotations

from typing import Any

from kinema_api import names, serving
from kinema_api.training import VideoModelTraining
from kinema_operator.training.objects import ownership


def video_model(training: VideoModelTraining, name: str) -> dict[str, Any]:
    """A VideoModel called `name` that serves what the training published last."""
    spec = serving.VideoModelSpec(
        source=serving.ModelSource(training=training.metadata.name), artifact_store=training.spec.artifact_store
    ).to_wire()
    return {
        "apiVersion": names.API_VERSION,
        "kind": serving.KIND,
        "metadata": {
            "name": name,
            "namespace": training.metadata.namespace,
            "labels": ownership.labels(training, names.COMPONENT_SERVER),
        },
        # What is not said here is the default of the CRD, which a person may change.
        "spec": {key: value for key, value in spec.items() if key in ("source", "artifactStore")},
    }
