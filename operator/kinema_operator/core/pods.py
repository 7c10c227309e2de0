"""Common parts of trainers, rendezvous pods and servers: the restricted Pod Security Standard and scratch volumes.

All functions are pure and return plain JSON data for a pod template.

Sources: Pod Security Standards, profile "restricted" (kubernetes.io/docs/concepts/security/pod-security-standards).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, Final

from kinema_api import names
from kinema_api.quantity import quantity
from kinema_api.resources import Resources
from kinema_operator.core.settings import Settings

GPU_RESOURCE: Final = "nvidia.com/gpu"
SHARED_MEMORY_DIR: Final = "/dev/shm"  # noqa: S108 - a memory-backed emptyDir of the pod

SCRATCH_VOLUME: Final = "scratch"
_MIB: Final = 1 << 20
_SHARED_MEMORY_VOLUME: Final = "shared-memory"

# Above the IDs of images and nodes, below the signed 32 bits that Kubernetes allows. Platforms that give
# each namespace a range of its own (OpenShift's restricted SCC) refuse such IDs: Settings.worker_user says who chooses.
_FIRST_USER: Final = 1_000_000_000
_USERS: Final = 1_000_000_000

SCRATCH_ENV: Final[Mapping[str, str]] = {"HOME": names.SCRATCH_DIR, "TMPDIR": names.SCRATCH_DIR}
"""A random user has no home directory in the image, so HOME is the scratch folder."""


def random_user(owner_uid: str) -> int:
    """A high user ID, different for each owner and the same at every reconcile."""
    digest = hashlib.sha256(owner_uid.encode()).digest()
    return _FIRST_USER + int.from_bytes(digest[:8]) % _USERS


def pod_security_context(owner_uid: str, settings: Settings) -> dict[str, Any]:
    """Restricted security context of a pod. The group owns mounted Secrets, so they need no world-readable mode."""
    return {
        "runAsNonRoot": True,
        **_identity(owner_uid, settings),
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _identity(owner_uid: str, settings: Settings) -> dict[str, int]:
    if settings.worker_user == "platform":
        return {}
    user = random_user(owner_uid) if settings.worker_user == "random" else settings.worker_user
    return {"runAsUser": user, "runAsGroup": user, "fsGroup": user}


def container_security_context() -> dict[str, Any]:
    """Restricted security context of a container, with a read-only root file system."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def scratch_limit(settings: Settings, room: int = 0) -> str:
    """Most that a pod may write to /tmp: `room` more bytes than usual."""
    usual = settings.scratch_size_limit
    return f"{math.ceil((quantity(usual) + room) / _MIB)}Mi" if room else usual


def scratch_volumes(settings: Settings, limit: str | None = None) -> list[dict[str, Any]]:
    """The writable volumes of a pod: /tmp on disk, of the usual size unless there is a `limit`, and /dev/shm."""
    return [
        {"name": SCRATCH_VOLUME, "emptyDir": {"sizeLimit": limit or settings.scratch_size_limit}},
        {
            "name": _SHARED_MEMORY_VOLUME,
            "emptyDir": {"medium": "Memory", "sizeLimit": settings.shared_memory_size_limit},
        },
    ]


def sized(volume: Mapping[str, Any], shared_memory: int | str | None) -> Mapping[str, Any]:
    """`volume`, with another size if it is /dev/shm and there is one."""
    if shared_memory is None or volume["name"] != _SHARED_MEMORY_VOLUME:
        return volume
    return {**volume, "emptyDir": {**volume["emptyDir"], "sizeLimit": str(shared_memory)}}


def scratch_mounts() -> list[dict[str, Any]]:
    """Mounts of `scratch_volumes`."""
    return [
        {"name": SCRATCH_VOLUME, "mountPath": names.SCRATCH_DIR},
        {"name": _SHARED_MEMORY_VOLUME, "mountPath": SHARED_MEMORY_DIR},
    ]


def restricted_pod(owner_uid: str, settings: Settings) -> dict[str, Any]:
    """Common fields of a pod spec: no token, no service variables, no privileges."""
    fields: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security_context(owner_uid, settings),
    }
    if settings.image_pull_secrets:
        fields["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    if settings.worker_runtime_class:
        fields["runtimeClassName"] = settings.worker_runtime_class
    return fields


def literal(text: str) -> str:
    """`text`, escaped so that Kubernetes does not expand $(NAME) in it."""
    return text.replace("$", "$$")


def container_resources(resources: Resources | None, defaults: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The container's `resources`, without empty parts, so that applying them twice changes nothing.

    `defaults` are requests for resources that are neither requested nor limited.
    """
    requests = {name: str(value) for name, value in (resources.requests if resources else {}).items()}
    limits = {name: str(value) for name, value in (resources.limits if resources else {}).items()}
    # An extended resource cannot be overcommitted: its request and its limit are one number, and the API server
    # refuses a request alone.
    limits |= {name: value for name, value in requests.items() if "/" in name and name not in limits}
    requests = {name: value for name, value in (defaults or {}).items() if name not in limits} | requests
    return {name: part for name, part in (("requests", requests), ("limits", limits)) if part}


def gpu_tolerations(resources: Resources | None) -> list[dict[str, Any]]:
    """Toleration of the taint of GPU nodes, for pods that request a GPU."""
    if resources is None or not (GPU_RESOURCE in resources.limits or GPU_RESOURCE in resources.requests):
        return []
    return [{"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}]


def node_loss_tolerations(seconds: int) -> list[dict[str, Any]]:
    """Tolerations of a node that is not ready or unreachable, before Kubernetes deletes the pod."""
    return [
        {
            "key": f"node.kubernetes.io/{trouble}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": seconds,
        }
        for trouble in ("not-ready", "unreachable")
    ]


def prometheus_annotations(port: int) -> dict[str, str]:
    """Annotations by which a Prometheus without the Prometheus operator finds a pod."""
    return {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(port),
        "prometheus.io/path": "/metrics",
    }
