"""The Deployment that serves one digest of a model.

A server is stateless and holds no credentials: it gets everything with a work order, so any pod can be lost at any
moment. Its pods satisfy the restricted Pod Security Standard.
"""

from __future__ import annotations

from typing import Any, Final

from kinema_api import names
from kinema_api.serving import KIND, VideoModel
from kinema_operator.core import pods
from kinema_operator.core.ownership import controller_reference
from kinema_operator.core.plan import Manifest
from kinema_operator.core.settings import Settings
from kinema_operator.dispatch.labels import server_labels, server_selector

CONTAINER: Final = "server"
PORT_NAME: Final = "orders"
METRICS_PORT_NAME: Final = "metrics"
ENV_GRACE: Final = "KINEMA_SERVER_GRACE_SECONDS"
SPARE_SECONDS: Final = 10

NODE_LOSS_SECONDS: Final = 15
"""A server on a node that is not heard of is replaced after so long; its successor starts from nothing, and a request
that it holds goes to another one anyway. A kubelet that is back reports itself within 10 s."""
READINESS: Final = {"periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 3}
# The operator decides within seconds about a server that holds a request; this is for one that hangs without one.
LIVENESS: Final = {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 18}


def server_deployment(
    model: VideoModel, digest: str, replicas: int, settings: Settings, order_key: str = ""
) -> Manifest:
    """The Deployment of `replicas` servers of `digest` (`sha256:<hex>`).

    `order_key`: the public key by which they know the operator's orders; servers without one take none from outside.
    """
    name = model.metadata.name
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": names.server_name(name, digest),
            "namespace": model.metadata.namespace,
            "labels": server_labels(name, digest),
            "ownerReferences": [controller_reference(KIND, model.metadata)],
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": server_selector(name, digest)},
            # A busy server is not taken away before its successor can work.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {
                    "labels": server_labels(name, digest),
                    "annotations": pods.prometheus_annotations(names.SERVER_METRICS_PORT),
                },
                "spec": _pod_spec(model, digest, settings, order_key),
            },
        },
    }


def _pod_spec(model: VideoModel, digest: str, settings: Settings, order_key: str) -> dict[str, Any]:
    serving = model.spec.serving
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
        "containers": [_container(model, digest, settings, order_key)],
        "volumes": pods.scratch_volumes(settings),
    }
    if serving.node_selector:
        spec["nodeSelector"] = dict(serving.node_selector)
    spec["tolerations"] = [*pods.node_loss_tolerations(NODE_LOSS_SECONDS), *pods.gpu_tolerations(serving.resources)]
    return spec


def _arguments(digest: str) -> list[str]:
    ports = ["--port", str(names.SERVER_PORT), "--metrics-port", str(names.SERVER_METRICS_PORT)]
    return ["--digest", digest, *ports]


def _order_key(order_key: str) -> list[dict[str, Any]]:
    """How a server knows that an order is the operator's, and for this very pod."""
    if not order_key:
        return []
    own_uid = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}
    return [
        {"name": names.ENV_ORDER_KEY, "value": order_key},
        {"name": names.ENV_POD_UID, "valueFrom": own_uid},
    ]


def _container(model: VideoModel, digest: str, settings: Settings, order_key: str) -> dict[str, Any]:
    environment = {
        "PYTHONUNBUFFERED": "1",
        names.ENV_THREADS: str(settings.worker_cpu_threads),
        # The server's own patience ends before the kubelet's, so that it always ends by itself.
        ENV_GRACE: f"{max(1, settings.server_termination_grace_seconds - SPARE_SECONDS)}",
        **pods.SCRATCH_ENV,
    }
    if settings.expansion_url:
        environment["KINEMA_EXPANSION_URL"] = settings.expansion_url
        environment["KINEMA_EXPANSION_MODEL"] = settings.expansion_model
    probe = {"httpGet": {"path": "/healthz", "port": PORT_NAME}}
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": settings.worker_image,
        "imagePullPolicy": settings.worker_image_pull_policy,
        "command": ["python", "-m", "kinema_jobs.serve"],
        "args": _arguments(digest),
        "env": [*({"name": key, "value": value} for key, value in environment.items()), *_order_key(order_key)],
        "ports": [
            {"name": PORT_NAME, "containerPort": names.SERVER_PORT, "protocol": "TCP"},
            {"name": METRICS_PORT_NAME, "containerPort": names.SERVER_METRICS_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {**probe, **READINESS},
        "livenessProbe": {**probe, **LIVENESS},
        "securityContext": pods.container_security_context(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": pods.scratch_mounts(),
    }
    resources = pods.container_resources(model.spec.serving.resources)
    if resources:
        container["resources"] = resources
    return container
