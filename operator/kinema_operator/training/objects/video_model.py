"""The VideoModel that follows a training: created if it does not exist, and never changed by the operator.

It has no owner reference, since a model outlives the training that created it.
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
        # Other fields get the CRD's defaults, which users may change.
        "spec": {key: value for key, value in spec.items() if key in ("source", "artifactStore")},
    }
