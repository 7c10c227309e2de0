"""The Services of a training, both headless: one names its workers, one the store of an attempt.

The store has no cluster address of its own: API servers hand those out one after another, some twenty a second, which
hundreds of trainings at once would have to wait for. A store's container is restarted in place and keeps its address;
only a store on a lost node is found again when a DNS answer has aged, which takes seconds.
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
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": ownership.selector(training, names.COMPONENT_STORE, run, attempt),
            "ports": [_port("rendezvous", names.RENDEZVOUS_PORT)],
        },
    }


def store_host(namespace: str, name: str, run: int, attempt: int) -> str:
    """DNS name of that Service, good in every cluster domain."""
    return f"{names.store_name(name, run, attempt)}.{namespace}.svc"


def _port(name: str, port: int) -> dict[str, Any]:
    return {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
