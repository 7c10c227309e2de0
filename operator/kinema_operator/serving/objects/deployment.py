"""The Deployment that serves one digest of a model.

Its argv and env are those of the AppDef (kinema_api.launch), plus values that only exist in a pod. A server is
stateless and has no credentials: a work order contains everything that it needs, so any pod may be lost at any time.
Its pods satisfy the restricted Pod Security Standard.
"""

from __future__ import annotations

from typing import Any, Final

from torchx import specs

from kinema_api import launch, names
from kinema_api.serving import KIND, VideoModel
from kinema_operator.core import pod_template, pods
from kinema_operator.core.ownership import controller_reference
from kinema_operator.core.plan import KubeObject
from kinema_operator.core.settings import Settings
from kinema_operator.dispatch.labels import server_labels, server_selector

PORT_NAME: Final = launch.ORDERS_PORT
METRICS_PORT_NAME: Final = launch.METRICS_PORT
SPARE_SECONDS: Final = 10

POD_ENV: Final = (names.ENV_THREADS, *pods.SCRATCH_ENV, names.ENV_POD_UID)
"""Variables that a pod may have in addition to the AppDef's; the last one only with an order key."""
_ENV_ORDER: Final = (
    launch.ENV_UNBUFFERED,
    names.ENV_THREADS,
    launch.ENV_SERVER_GRACE,
    *pods.SCRATCH_ENV,
    launch.ENV_EXPANSION_URL,
    launch.ENV_EXPANSION_MODEL,
    names.ENV_ORDER_KEY,
)
"""Order of the variables: a change of the order changes the pod template and so replaces every server."""
_MODULE_ARGS: Final = 2
"""Arguments of the AppDef that are in the container's command, for the same reason: -m and the module."""

NODE_LOSS_SECONDS: Final = 15
"""Toleration of an unreachable node, in seconds. Short, since a server has no state and its request goes to another
server anyway; a kubelet that is back reports within 10 s."""
READINESS: Final = {"periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 3}
# The operator replaces an unresponsive server with a request within seconds; this probe is for idle servers.
LIVENESS: Final = {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 18}


def server_deployment(
    model: VideoModel, digest: str, replicas: int, settings: Settings, order_key: str = "", scratch: str | None = None
) -> KubeObject:
    """The Deployment of `replicas` servers of `digest` (`sha256:<hex>`).

    `order_key`: the public key that verifies the operator's orders. `scratch`: size of a pod's scratch volume, if it is
    another than usual.
    """
    name, template = model.metadata.name, model.spec.serving.template
    # Without a template a server's pod stays as older versions made it: another label would replace every server.
    inherited = model.metadata.labels if model.spec.serving.pod_template is not None else {}
    own = {
        "labels": server_labels(name, digest),
        "annotations": pods.prometheus_annotations(names.SERVER_METRICS_PORT),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": names.server_name(name, digest),
            "namespace": model.metadata.namespace,
            "labels": {**pod_template.job_labels(inherited), **server_labels(name, digest)},
            "ownerReferences": [controller_reference(KIND, model.metadata)],
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": server_selector(name, digest)},
            # A busy server is not removed before its successor is ready.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": pod_template.merged_metadata(own, template, inherited),
                "spec": pod_template.merged_spec(
                    _pod_spec(model, digest, settings, order_key, scratch), template, server_selector(name, digest)
                ),
            },
        },
    }


def _pod_spec(
    model: VideoModel, digest: str, settings: Settings, order_key: str, scratch: str | None
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        **pods.restricted_pod(model.metadata.uid, settings),
        "terminationGracePeriodSeconds": settings.server_termination_grace_seconds,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": server_selector(model.metadata.name, digest)},
            }
        ],
        "tolerations": pods.node_loss_tolerations(NODE_LOSS_SECONDS),
        "containers": [_container(model, digest, settings, order_key)],
        "volumes": pods.scratch_volumes(settings, scratch),
    }
    return spec


def _role(model: VideoModel, digest: str, settings: Settings, order_key: str) -> specs.Role:
    site = launch.ServerSite(
        image=settings.worker_image,
        # The server's own time limit is shorter than the kubelet's, so that it always exits by itself.
        grace_seconds=max(1, settings.server_termination_grace_seconds - SPARE_SECONDS),
        expansion_url=settings.expansion_url or "",
        expansion_model=settings.expansion_model,
        order_key=order_key,
    )
    (role,) = launch.server_app(model.metadata.name, digest, site).roles
    return role


def _env(role: specs.Role, settings: Settings) -> list[dict[str, Any]]:
    values = {**role.env, names.ENV_THREADS: str(settings.worker_cpu_threads), **pods.SCRATCH_ENV}
    found: list[dict[str, Any]] = [
        {"name": name, "value": values[name]} for name in sorted(values, key=_ENV_ORDER.index)
    ]
    if names.ENV_ORDER_KEY in values:
        # Orders are signed for the UID of the pod.
        own_uid = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}
        found.append({"name": names.ENV_POD_UID, "valueFrom": own_uid})
    return found


def _container(model: VideoModel, digest: str, settings: Settings, order_key: str) -> dict[str, Any]:
    role = _role(model, digest, settings, order_key)
    probe = {"httpGet": {"path": "/healthz", "port": PORT_NAME}}
    return {
        "name": role.name,
        "image": role.image,
        "imagePullPolicy": settings.worker_image_pull_policy,
        "command": [role.entrypoint, *role.args[:_MODULE_ARGS]],
        "args": role.args[_MODULE_ARGS:],
        "env": _env(role, settings),
        "ports": [
            {"name": name, "containerPort": role.port_map[name], "protocol": "TCP"}
            for name in (PORT_NAME, METRICS_PORT_NAME)
        ],
        "readinessProbe": {**probe, **READINESS},
        "livenessProbe": {**probe, **LIVENESS},
        "securityContext": pods.container_security_context(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": pods.scratch_mounts(),
    }
