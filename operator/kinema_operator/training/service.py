"""The one Service of a training: headless, it gives each of its pods a name.

One for all of them, since endpoints are made for every Service anew. It has no cluster address: API servers hand those
out one after another, some twenty a second, which hundreds of trainings at once would have to wait for. A store's
container is restarted in place and keeps its address; only a store on a lost node is found again when a DNS answer has
aged, which takes seconds.
"""

from __future__ import annotations

from typing import Any

from kinema_api import names
from kinema_api.training import VideoModelTraining
from kinema_operator.training import ownership


def pods_service(training: VideoModelTraining) -> dict[str, Any]:
    """Headless Service of the trainers and the rendezvous store of every attempt."""
    name = names.pods_service_name(training.metadata.name)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": ownership.metadata(training, name, ownership.labels(training, names.COMPONENT_TRAINER)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {names.LABEL_TRAINING: training.metadata.name},
            "ports": [_port("progress", names.PROGRESS_PORT), _port("rendezvous", names.RENDEZVOUS_PORT)],
        },
    }


def store_host(namespace: str, name: str, run: int, attempt: int) -> str:
    """DNS name of the rendezvous store of one attempt, good in every cluster domain."""
    return f"{names.store_name(name, run, attempt)}.{names.pods_service_name(name)}.{namespace}.svc"


def _port(name: str, port: int) -> dict[str, Any]:
    return {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
