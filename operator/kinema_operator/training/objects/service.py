"""The Service of the rendezvous pods: one headless Service for all trainings of a namespace.

The trainers' Job needs the host name of the rendezvous pod before the pod has an address. A headless Service gives each
pod with its name as subdomain a host name, so one is enough: a Service per training would cost the API server,
kube-proxy, DNS and the endpoint controllers more. Trainers need no host names, since their agents advertise addresses.

It has no cluster IP: API servers allocate only about twenty a second. The rendezvous container is restarted in place
and keeps its address; only the address of a pod on a lost node changes, which DNS caches delay by seconds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from kinema_api import names
from kinema_api.training import VideoModelTraining
from kinema_operator.core.plan import KubeObject
from kinema_operator.training.objects import ownership

CACHED_NAMESPACES: Final = 1024
"""Cached, since every reconcile of every training needs the same Service."""


@lru_cache(CACHED_NAMESPACES)
def rendezvous_service(namespace: str) -> KubeObject:
    """Headless Service of the rendezvous pods of all trainings of a namespace."""
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
    """The Service of an attempt that an older version began: its trainers use a host name in this Service."""
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
    """DNS name of the rendezvous pod of one attempt within its namespace, independent of the cluster domain.

    The first search domain of a pod (its namespace) resolves it with one query: one of two DNS servers may have been on
    the lost node.
    """
    return f"{names.store_name(name, run, attempt)}.{service}"


def _port(name: str, port: int) -> dict[str, Any]:
    return {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
