"""The Service that names rendezvous stores: one headless Service for all trainings of a namespace.

A store's host name must be known when the trainers' Job is made, and its address is not. A Service gives every store
that names it as its subdomain a name of its own, so one is enough for any number of them: a Service for each training
costs the API server and whoever follows Services (kube-proxy, DNS, the controllers of endpoints) once more for each.
Trainers need no names, since their agents advertise addresses.

It has no cluster address: API servers hand those out one after another, some twenty a second. A store's container is
restarted in place and keeps its address; only a store on a lost node is found again when a DNS answer has aged, which
takes seconds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from kinema_api import names
from kinema_api.training import VideoModelTraining
from kinema_operator.core.plan import KubeObject
from kinema_operator.training.objects import ownership

CACHED_NAMESPACES: Final = 1024
"""Every look at every training asks for the same Service."""


@lru_cache(CACHED_NAMESPACES)
def rendezvous_service(namespace: str) -> KubeObject:
    """Headless Service of the rendezvous stores of all trainings of a namespace."""
    selector = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_COMPONENT: names.COMPONENT_STORE}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": ownership.shared_metadata(namespace, names.RENDEZVOUS_SERVICE, names.COMPONENT_STORE),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector,
            "ports": [_port("rendezvous", names.RENDEZVOUS_PORT)],
        },
    }


def pods_service(training: VideoModelTraining) -> dict[str, Any]:
    """The Service of an attempt that an older version began: its trainers know their store by no other name."""
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


def store_host(name: str, run: int, attempt: int, service: str = names.RENDEZVOUS_SERVICE) -> str:
    """DNS name of the rendezvous store of one attempt within its namespace, good in every cluster domain.

    It is found by the first search domain of a pod, that of its namespace, so by one question: of two name servers one
    may be on the node that was lost with the store.
    """
    return f"{names.store_name(name, run, attempt)}.{service}"


def _port(name: str, port: int) -> dict[str, Any]:
    return {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
