"""The pod of a role of the AppDef: argv and env are the AppDef's, plus what only a live pod can know.

What a pod may do (the restricted Pod Security Standard) is decided in kinema_operator.core.pods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torchx import specs

from kinema_api import launch, names
from kinema_api.training import VideoModelTraining
from kinema_operator.core import pods
from kinema_operator.core.settings import Settings

ENV_USER: Final = "USER"
USER: Final = "kinema"
"""A random user has no name; what asks for one would raise instead."""

POD_ENV: Final = (*launch.RUNTIME_ENV, *pods.SCRATCH_ENV, ENV_USER, names.ENV_THREADS)
"""Every variable that a live pod has beyond the AppDef's."""

NODE_LOSS_SECONDS: Final = 300
"""Tolerance for a node that is not ready or not reachable, said aloud since clusters may set another default. A node
that is away from the API server may train on: the operator asks its pods and gives up those that are silent
(nodes.py), long before."""


DNS_OPTIONS: Final = [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "1"}]
"""A name server on a lost node is asked until Kubernetes misses the node, for 5 s by default (resolv.conf(5)), and all
attempts of one question take that time. Whoever asks here tries again by itself, and knows where the store was
(kinema_api/addresses.py)."""


def container(role: specs.Role, settings: Settings) -> dict[str, Any]:
    """The container of a role."""
    return {
        "name": role.name,
        "image": role.image,
        "imagePullPolicy": settings.worker_image_pull_policy,
        "command": [literal(role.entrypoint)],
        "args": [literal(arg) for arg in role.args],
        "env": _env(role.env, settings),
        "ports": [{"name": name, "containerPort": port} for name, port in sorted(role.port_map.items())],
        "securityContext": pods.container_security_context(),
        "volumeMounts": pods.scratch_mounts(),
    }


def literal(text: str) -> str:
    """`text` as Kubernetes must be given it for the process to see exactly `text`: $(NAME) would be expanded."""
    return text.replace("$", "$$")


def _env(own: Mapping[str, str], settings: Settings) -> list[dict[str, Any]]:
    fixed = {**own, **pods.SCRATCH_ENV, ENV_USER: USER, names.ENV_THREADS: str(settings.worker_cpu_threads)}
    downward = {launch.ENV_POD_NAME: "metadata.name", launch.ENV_POD_IP: "status.podIP"}
    return [
        *({"name": name, "value": literal(value)} for name, value in sorted(fixed.items())),
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in sorted(downward.items())),
    ]


def base_pod(training: VideoModelTraining, settings: Settings) -> dict[str, Any]:
    """Fields of a pod spec that every pod of a training shares; lists may be added to.

    Every pod tolerates the GPU nodes of its training's workers: the rendezvous needs none, but a cluster may have no
    other nodes.
    """
    worker = training.spec.worker
    return {
        **pods.restricted_pod(training.metadata.uid, settings),
        "dnsConfig": {"options": DNS_OPTIONS},
        "tolerations": [
            *pods.node_loss_tolerations(NODE_LOSS_SECONDS),
            *pods.gpu_tolerations(worker.resources if worker else None),
        ],
        "volumes": pods.scratch_volumes(settings),
    }
