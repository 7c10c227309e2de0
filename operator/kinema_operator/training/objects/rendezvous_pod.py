"""The rendezvous pod: separate from the trainers, so that any trainer may fail; created again when it is gone.

Its name gets a number while a Terminating pod on a lost node has the first name. The kubelet restarts its container in
place. It runs the image of its attempt's trainers, even after an upgrade of the operator, so its arguments never
change: newer settings are passed in files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from torchx import specs

from kinema_api import launch, names
from kinema_api.run import RunConfig
from kinema_api.training import VideoModelTraining
from kinema_operator.core.settings import Settings
from kinema_operator.training.objects import ownership
from kinema_operator.training.objects.pod import base_pod, container, helper_pod

ANNOTATION_MIN_NODES: Final = f"{names.GROUP}/min-nodes"
"""The smallest group that this pod forms; the process reads it again when it changes."""
ANNOTATION_GENERATION: Final = f"{names.GROUP}/rendezvous-generation"
"""Increases with each pod of an attempt: of two pods, the older one stops. Absent on pods of older versions, which do
not read annotations."""
ANNOTATION_LEASES_OVER: Final = f"{names.GROUP}/leases-over"
POD_INFO_VOLUME: Final = "pod-info"

TERMINATION_GRACE_SECONDS: Final = 30
"""Time for its round to end at a step boundary and commit; without trainers it exits at once."""
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


def next_generation(now: datetime, seen: Iterable[int | None]) -> int:
    """A generation above all in `seen`, and above those of pods that are not seen."""
    return max([int(now.timestamp()), *(number + 1 for number in seen if number is not None)])


@dataclass(frozen=True)
class Making:
    """Settings of one rendezvous pod, besides its attempt."""

    taken: Collection[str] = ()
    """Names of pods that still exist."""
    image: str = ""
    """Image of the attempt's trainers; empty: there are none yet, use the AppDef's."""
    generation: int = 0
    """See ANNOTATION_GENERATION."""
    avoid: Collection[str] = ()
    """Nodes on which earlier pods were lost; Kubernetes may not have noticed yet."""
    leases_over: bool = False
    """See names.POD_INFO_LEASES_OVER."""
    service: str = names.RENDEZVOUS_SERVICE
    """The Service of its host name."""


def store_pod(
    training: VideoModelTraining, app: specs.AppDef, config: RunConfig, settings: Settings, making: Making
) -> dict[str, Any]:
    """The rendezvous pod of one attempt."""
    role = next(role for role in app.roles if role.name == launch.STORE_ROLE)
    if making.image:
        role = replace(role, image=making.image)
    # The host name does not change with the number in the pod's name.
    host = names.store_name(config.name, config.run, config.attempt)
    pod_labels = ownership.labels(training, names.COMPONENT_STORE, config.run, config.attempt)
    metadata = ownership.metadata(training, pod_name(host, making.taken), pod_labels)
    metadata["annotations"] = {
        ANNOTATION_MIN_NODES: str(training.spec.min_nodes),
        ANNOTATION_GENERATION: str(making.generation),
        ANNOTATION_LEASES_OVER: str(int(making.leases_over)),
    }
    spec = base_pod(training, settings)
    spec |= {
        "hostname": host,
        "subdomain": making.service,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": TERMINATION_GRACE_SECONDS,
        "volumes": [*spec["volumes"], _pod_info()],
        "containers": [_container(role, settings)],
        **_place(training, making.avoid),
    }
    return {"apiVersion": "v1", "kind": "Pod", **helper_pod(training, {"metadata": metadata, "spec": spec})}


def _container(role: specs.Role, settings: Settings) -> dict[str, Any]:
    store = container(role, settings)
    store["resources"] = {"requests": dict(REQUESTS)}
    store["readinessProbe"] = {"tcpSocket": {"port": names.RENDEZVOUS_PORT}, "periodSeconds": 1}
    store["volumeMounts"].append({"name": POD_INFO_VOLUME, "mountPath": names.POD_INFO_DIR, "readOnly": True})
    return store


def _place(training: VideoModelTraining, avoid: Collection[str]) -> dict[str, Any]:
    """Node selector and affinity: of the workers' selector only what the image needs, so no GPU."""
    wanted = training.spec.trainer_template.node_selector or {}
    platform = {key: value for key, value in wanted.items() if key in PLATFORM_LABELS}
    return {
        **({"nodeSelector": platform} if platform else {}),
        **({"affinity": _elsewhere(avoid)} if avoid else {}),
    }


def _elsewhere(nodes: Collection[str]) -> dict[str, Any]:
    """Prefer other nodes. Not required, since a cluster may have no other node."""
    others = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in sorted(nodes)]
    term = {"weight": 100, "preference": {"matchFields": others}}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}


def _pod_info() -> dict[str, Any]:
    files = {
        names.POD_INFO_MIN_NODES: ANNOTATION_MIN_NODES,
        names.POD_INFO_GENERATION: ANNOTATION_GENERATION,
        names.POD_INFO_LEASES_OVER: ANNOTATION_LEASES_OVER,
    }
    items = [
        {"path": path, "fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{annotation}']"}}
        for path, annotation in files.items()
    ]
    return {"name": POD_INFO_VOLUME, "downwardAPI": {"items": items, "defaultMode": 0o444}}
