"""The Indexed Job of one attempt: one trainer per node, replaced when it dies, resized by its parallelism.

Backoff is counted per index (KEP-3850): the Job controller delays replacements by 10 s, 20 s, 40 s ... up to 10 min,
and with one count for the whole Job every failure would delay all later replacements of a long run. The limit is never
reached; a failure that a new pod cannot repair fails the Job by its exit code (KEP-3329).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from torchx import specs

from kinema_api import launch, names
from kinema_api.run import RunConfig
from kinema_api.training import VideoModelTraining
from kinema_api.wire import EXIT_CODES
from kinema_operator.core import pod_template, pods
from kinema_operator.core.settings import Settings
from kinema_operator.training.failure import ENDS_ATTEMPT
from kinema_operator.training.objects import ownership
from kinema_operator.training.objects.pod import base_pod, container

BACKOFF_LIMIT_PER_INDEX: Final = 10_000
TERMINATION_GRACE_SECONDS: Final = 30
DEFAULT_REQUESTS: Final = {"cpu": "100m", "memory": "256Mi"}
"""A trainer's requests if the spec has none. No limits, since a wrong default would kill trainers."""

# A trainer without a response for a minute is stuck; imports on a busy machine can take almost as long.
_HEALTH: Final = {"httpGet": {"path": "/healthz", "port": names.PROGRESS_PORT}, "timeoutSeconds": 5}
STARTUP_PROBE: Final = {**_HEALTH, "periodSeconds": 5, "failureThreshold": 120}
LIVENESS_PROBE: Final = {**_HEALTH, "periodSeconds": 10, "failureThreshold": 6}

_STORAGE_VOLUME: Final = "storage"


def job(
    training: VideoModelTraining, app: specs.AppDef, config: RunConfig, nodes: int, settings: Settings
) -> dict[str, Any]:
    """The Job of the attempt that `config` describes, at `nodes` nodes."""
    role = next(role for role in app.roles if role.name == launch.TRAINER_ROLE)
    job_labels = ownership.labels(training, names.COMPONENT_TRAINER, config.run, config.attempt)
    name = names.job_name(config.name, config.run, config.attempt)
    metadata = ownership.job_metadata(training, name, job_labels)
    return elastic_job(
        metadata, role.name, nodes, BACKOFF_LIMIT_PER_INDEX, _pod(training, role, config, settings, job_labels)
    )


def elastic_job(
    metadata: dict[str, Any], container_name: str, nodes: int, backoff_limit_per_index: int, template: dict[str, Any]
) -> dict[str, Any]:
    """An Indexed Job of `nodes` pods of a template, whose size may change while it runs."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completionMode": "Indexed",
            "parallelism": nodes,
            "completions": nodes,
            "backoffLimitPerIndex": backoff_limit_per_index,
            # The only value allowed with a podFailurePolicy: no replacement while the old pod may still write.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": failure_rules(container_name)},
            "template": template,
        },
    }


def failure_rules(container_name: str) -> list[dict[str, Any]]:
    """A Job's podFailurePolicy: disruptions are ignored, and failures that a new pod cannot repair fail the Job."""
    codes = sorted(EXIT_CODES[failure_class] for failure_class in ENDS_ATTEMPT)
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": container_name, "operator": "In", "values": codes},
        },
    ]


def worker_pod(
    training: VideoModelTraining, role: specs.Role, settings: Settings, secret: str | None = None
) -> dict[str, Any]:
    """Pod spec of trainers and evaluators: image and storage credentials, one container without resources.

    `secret` is the Secret with the credentials; default: the trainers'.
    """
    spec = base_pod(training, settings)
    spec["restartPolicy"] = "Never"
    spec["terminationGracePeriodSeconds"] = TERMINATION_GRACE_SECONDS
    spec["volumes"].append(
        {
            "name": _STORAGE_VOLUME,
            "secret": {
                "secretName": secret or names.storage_secret_name(training.metadata.name),
                "defaultMode": 0o440,
            },
        }
    )
    found = container(role, settings)
    found["volumeMounts"].append(
        {"name": _STORAGE_VOLUME, "mountPath": names.STORAGE_SECRET_DIR, "readOnly": True},
    )
    spec["containers"] = [found]
    return spec


def _pod(
    training: VideoModelTraining, role: specs.Role, config: RunConfig, settings: Settings, labels: dict[str, str]
) -> dict[str, Any]:
    template = training.spec.trainer_template
    metadata = {"labels": labels, "annotations": pods.prometheus_annotations(names.PROGRESS_PORT)}
    selector = ownership.selector(training, names.COMPONENT_TRAINER, config.run, config.attempt)
    own = _own_spec(training, role, config, settings)
    return {
        "metadata": pod_template.merged_metadata(metadata, template, training.metadata.labels),
        "spec": pod_template.merged_spec(own, template, selector, DEFAULT_REQUESTS),
    }


def _own_spec(training: VideoModelTraining, role: specs.Role, config: RunConfig, settings: Settings) -> dict[str, Any]:
    spec = worker_pod(training, role, settings)
    spec["topologySpreadConstraints"] = [_spread(training, config)]
    if training.status.excluded_nodes:
        spec["affinity"] = elsewhere(training.status.excluded_nodes)
    spec["terminationGracePeriodSeconds"] = config.grace_seconds
    (trainer,) = spec["containers"]
    trainer["startupProbe"] = STARTUP_PROBE
    trainer["livenessProbe"] = LIVENESS_PROBE
    trainer["env"] += _devices(training)
    return spec


def _devices(training: VideoModelTraining) -> list[dict[str, str]]:
    """How many GPUs a trainer finds. One whose resources are given by `worker.resources` alone takes what it sees."""
    worker = training.spec.worker
    gpus = worker.pod_template.gpus if worker and worker.pod_template else 0
    return [{"name": launch.ENV_DEVICES, "value": str(gpus)}] if gpus else []


def _spread(training: VideoModelTraining, config: RunConfig) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {
            "matchLabels": ownership.selector(training, names.COMPONENT_TRAINER, config.run, config.attempt)
        },
    }


def elsewhere(nodes: Sequence[str]) -> dict[str, Any]:
    """Affinity for nodes other than these. A matchFields requirement may have only one value."""
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in nodes]
    terms = {"nodeSelectorTerms": [{"matchFields": fields}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
