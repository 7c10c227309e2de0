"""The pod of a role of the AppDef: argv and env are the AppDef's, plus values that only exist in a pod.

kinema_operator.core.pods has its security context (the restricted Pod Security Standard).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torchx import specs

from kinema_api import launch, names
from kinema_api.training import VideoModelTraining
from kinema_operator.core import pod_template, pods
from kinema_operator.core.plan import KubeObject
from kinema_operator.core.settings import Settings

ENV_USER: Final = "USER"
USER: Final = "kinema"
"""Name of the user: a random user ID has none, and libraries that look it up would raise."""

POD_ENV: Final = (*launch.RUNTIME_ENV, *pods.SCRATCH_ENV, ENV_USER, names.ENV_THREADS)
"""Variables of a pod in addition to the AppDef's."""

NODE_LOSS_SECONDS: Final = 300
"""Toleration of a node that is not ready or unreachable, explicit since clusters may have another default. A node that
cannot reach the API server may continue to train: the operator asks its pods and replaces those that do not respond
(nodes.py), long before."""


DNS_OPTIONS: Final = [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "1"}]
"""Short time-outs: until Kubernetes notices the loss of a node, queries go to its DNS server too and take 5 s by
default (resolv.conf(5)). Clients retry and remember the store's address (kinema_api/addresses.py)."""


def container(role: specs.Role, settings: Settings) -> dict[str, Any]:
    """The container of a role."""
    return {
        "name": role.name,
        "image": role.image,
        "imagePullPolicy": settings.worker_image_pull_policy,
        "command": [pods.literal(role.entrypoint)],
        "args": [pods.literal(arg) for arg in role.args],
        "env": _env(role.env, settings),
        "ports": [{"name": name, "containerPort": port} for name, port in sorted(role.port_map.items())],
        "securityContext": pods.container_security_context(),
        "volumeMounts": pods.scratch_mounts(),
    }


def _env(own: Mapping[str, str], settings: Settings) -> list[dict[str, Any]]:
    fixed = {**own, **pods.SCRATCH_ENV, ENV_USER: USER, names.ENV_THREADS: str(settings.worker_cpu_threads)}
    downward = {launch.ENV_POD_NAME: "metadata.name", launch.ENV_POD_IP: "status.podIP"}
    return [
        *({"name": name, "value": pods.literal(value)} for name, value in sorted(fixed.items())),
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in sorted(downward.items())),
    ]


def base_pod(training: VideoModelTraining, settings: Settings) -> dict[str, Any]:
    """Fields of a pod spec that every pod of a training has; its lists may be extended.

    Every pod tolerates GPU nodes if its training's workers need them: the rendezvous pod needs no GPU, but a cluster
    may have no other nodes.
    """
    return {
        **pods.restricted_pod(training.metadata.uid, settings),
        "dnsConfig": {"options": DNS_OPTIONS},
        "tolerations": [
            *pods.node_loss_tolerations(NODE_LOSS_SECONDS),
            *pods.gpu_tolerations(training.spec.trainer_template.resources),
        ],
        "volumes": pods.scratch_volumes(settings),
    }


def helper_pod(training: VideoModelTraining, own: KubeObject) -> dict[str, Any]:
    """`own` (metadata and spec) of a small pod beside the trainers, with what their template has for it."""
    template = pod_template.for_helper(training.spec.trainer_template)
    spec = own["spec"]
    (only,) = spec["containers"]
    merged = pod_template.merged_spec(spec, template, {})
    # What it requests is Kinema's own.
    return {
        **own,
        "metadata": pod_template.merged_metadata(own["metadata"], template, training.metadata.labels),
        "spec": {**merged, "containers": [only]},
    }
