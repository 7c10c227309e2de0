"""The Services of a training: a headless one that names its workers, and one before each attempt's store.

The store's has an address of its own: it stays while the pod behind it is made anew, and no DNS answer has to age.
"""

from __future__ import annotations

from typing import Any

from kinema_api import names
from kinema_api.training import VideoModelTraining
from kinema_operator.training import ownership


def workers_service(training: VideoModelTraining) -> dict[str, Any]:
    """Headless Service of the trainers of every attempt."""
    name = names.workers_service_name(training.metadata.name)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": ownership.metadata(training, name, ownership.labels(training, names.COMPONENT_TRAINER)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {
                names.LABEL_TRAINING: training.metadata.name,
                names.LABEL_COMPONENT: names.COMPONENT_TRAINER,
            },
            "ports": [_port("progress", names.PROGRESS_PORT)],
        },
    }


def store_service(training: VideoModelTraining, run: int, attempt: int) -> dict[str, Any]:
    """Service before the rendezvous store of one attempt."""
    name = names.store_name(training.metadata.name, run, attempt)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": ownership.metadata(training, name, ownership.labels(training, names.COMPONENT_STORE, run, attempt)),
        "spec": {
            "selector": ownership.selector(training, names.COMPONENT_STORE, run, attempt),
            "ports": [_port("rendezvous", names.RENDEZVOUS_PORT)],
        },
    }


def store_host(namespace: str, name: str, run: int, attempt: int) -> str:
    """DNS name of that Service, good in every cluster domain."""
    return f"{names.store_name(name, run, attempt)}.{namespace}.svc"


def _port(name: str, port: int) -> dict[str, Any]:
    return {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
