"""The pod of the rendezvous store: on its own, so that any worker may die; small, and made anew when it is gone.

Its name carries a number once the first name is held by a pod that hangs Terminating on a dead node. The kubelet
restarts its container in place.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from torchx import specs

from kinema_api import launch, names
from kinema_api.run import RunConfig
from kinema_api.training import VideoModelTraining
from kinema_operator.settings import Settings
from kinema_operator.training import ownership
from kinema_operator.training.pod import base_pod, container

ANNOTATION_MIN_NODES: Final = f"{names.GROUP}/min-nodes"
"""The smallest group that this store forms: when the spec changes it, the store is made anew."""

TERMINATION_GRACE_SECONDS: Final = 2
"""It keeps nothing: whoever connects next starts a new round."""
PLATFORM_LABELS: Final = ("kubernetes.io/arch", "kubernetes.io/os")
REQUESTS: Final = {"cpu": "20m", "memory": "64Mi"}


def pod_name(first: str, taken: Collection[str]) -> str:
    """The first free one of `first`, `first`-2, `first`-3 ..."""
    number = 1
    name = first
    while name in taken:
        number += 1
        name = f"{first}-{number}"
    return name


def store_pod(
    training: VideoModelTraining, app: specs.AppDef, config: RunConfig, taken: Collection[str], settings: Settings
) -> dict[str, Any]:
    """The rendezvous store of one attempt; `taken` are names of pods that still exist."""
    role = next(role for role in app.roles if role.name == launch.STORE_ROLE)
    name = pod_name(names.store_name(config.name, config.run, config.attempt), taken)
    pod_labels = ownership.labels(training, names.COMPONENT_STORE, config.run, config.attempt)
    metadata = ownership.metadata(training, name, pod_labels)
    metadata["annotations"] = {ANNOTATION_MIN_NODES: str(training.spec.min_nodes)}
    store = container(role, settings)
    store["resources"] = {"requests": dict(REQUESTS)}
    store["readinessProbe"] = {"tcpSocket": {"port": names.RENDEZVOUS_PORT}, "periodSeconds": 1}
    spec = base_pod(training, settings)
    # It runs wherever its image does: what else workers select, a GPU above all, it does not need.
    wanted = (training.spec.worker and training.spec.worker.node_selector) or {}
    platform = {key: value for key, value in wanted.items() if key in PLATFORM_LABELS}
    if platform:
        spec["nodeSelector"] = platform
    # Its host name stays the same whatever number its own name carries.
    spec["hostname"] = names.store_name(config.name, config.run, config.attempt)
    spec["subdomain"] = names.pods_service_name(config.name)
    spec["restartPolicy"] = "Always"
    spec["terminationGracePeriodSeconds"] = TERMINATION_GRACE_SECONDS
    spec["containers"] = [store]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
