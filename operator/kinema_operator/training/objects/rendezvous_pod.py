"""The pod of the rendezvous store: on its own, so that any worker may die; small, and made anew when it is gone.

Its name carries a number once the first name is held by a pod that hangs Terminating on a dead node. The kubelet
restarts its container in place. It runs the image of its attempt's trainers, which an operator that has become newer
meanwhile would not give it, and takes its arguments as they always were: what is new to it comes in files.
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
from kinema_operator.training.objects.pod import base_pod, container

ANNOTATION_MIN_NODES: Final = f"{names.GROUP}/min-nodes"
"""The smallest group that this store forms: the process reads it again as it changes."""
ANNOTATION_GENERATION: Final = f"{names.GROUP}/rendezvous-generation"
"""Higher for each pod made later: where two serve one attempt, the older one gives way. Absent: of an older version,
which does not read its annotations."""
ANNOTATION_LEASES_OVER: Final = f"{names.GROUP}/leases-over"
POD_INFO_VOLUME: Final = "pod-info"

TERMINATION_GRACE_SECONDS: Final = 30
"""Its round ends at a step boundary and commits before it goes; with nobody at work it goes at once."""
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
    """Above every generation that is seen, and that of any pod made before which is not."""
    return max([int(now.timestamp()), *(number + 1 for number in seen if number is not None)])


@dataclass(frozen=True)
class Making:
    """What is particular to one store beside its attempt."""

    taken: Collection[str] = ()
    """Names of pods that still exist."""
    image: str = ""
    """What the attempt's trainers run; empty: the AppDef's, since there are none yet."""
    generation: int = 0
    """See ANNOTATION_GENERATION."""
    avoid: Collection[str] = ()
    """Nodes on which others were lost; Kubernetes may not know yet that these are gone."""
    leases_over: bool = False
    """See names.POD_INFO_LEASES_OVER."""
    service: str = names.RENDEZVOUS_SERVICE
    """The Service that gives it its host name."""


def store_pod(
    training: VideoModelTraining, app: specs.AppDef, config: RunConfig, settings: Settings, making: Making
) -> dict[str, Any]:
    """The rendezvous store of one attempt."""
    role = next(role for role in app.roles if role.name == launch.STORE_ROLE)
    if making.image:
        role = replace(role, image=making.image)
    # Its host name stays the same whatever number its own name carries.
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
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _container(role: specs.Role, settings: Settings) -> dict[str, Any]:
    store = container(role, settings)
    store["resources"] = {"requests": dict(REQUESTS)}
    store["readinessProbe"] = {"tcpSocket": {"port": names.RENDEZVOUS_PORT}, "periodSeconds": 1}
    store["volumeMounts"].append({"name": POD_INFO_VOLUME, "mountPath": names.POD_INFO_DIR, "readOnly": True})
    return store


def _place(training: VideoModelTraining, avoid: Collection[str]) -> dict[str, Any]:
    """Wherever its image runs: what else workers select, a GPU above all, it does not need."""
    wanted = (training.spec.worker and training.spec.worker.node_selector) or {}
    platform = {key: value for key, value in wanted.items() if key in PLATFORM_LABELS}
    return {
        **({"nodeSelector": platform} if platform else {}),
        **({"affinity": _elsewhere(avoid)} if avoid else {}),
    }


def _elsewhere(nodes: Collection[str]) -> dict[str, Any]:
    """Preferred only: a cluster may have no other node, and this one may be well."""
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
