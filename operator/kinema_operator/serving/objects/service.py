"""The Service of the servers of one digest, for Prometheus; the operator sends requests to the pods."""

from __future__ import annotations

from kinema_api import names
from kinema_api.serving import KIND, VideoModel
from kinema_operator.core.ownership import controller_reference
from kinema_operator.core.plan import KubeObject
from kinema_operator.dispatch.labels import server_labels, server_selector
from kinema_operator.serving.objects.deployment import METRICS_PORT_NAME


def server_service(model: VideoModel, digest: str) -> KubeObject:
    """The Service of the servers of `digest`."""
    name = model.metadata.name
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names.server_name(name, digest),
            "namespace": model.metadata.namespace,
            "labels": server_labels(name, digest),
            "ownerReferences": [controller_reference(KIND, model.metadata)],
        },
        "spec": {
            "selector": server_selector(name, digest),
            "ports": [
                {
                    "name": METRICS_PORT_NAME,
                    "port": names.SERVER_METRICS_PORT,
                    "targetPort": METRICS_PORT_NAME,
                    "protocol": "TCP",
                },
            ],
        },
    }
