"""The Job that publishes an attempt's model: one small pod with its own credentials, replaced when it fails.

Hashing and copying a large model takes minutes. In a pod this blocks no reconcile and survives a restart of the
operator.
"""

from __future__ import annotations

from typing import Any, Final

from torchx import specs

from kinema_api import names
from kinema_api.run import PublicationConfig
from kinema_api.training import VideoModelTraining
from kinema_api.wire import EXIT_CODES, EXPORT_BROKEN_EXIT
from kinema_operator.core.settings import Settings
from kinema_operator.training.objects import ownership
from kinema_operator.training.objects.job import DEFAULT_REQUESTS
from kinema_operator.training.objects.pod import base_pod, container, helper_pod

BACKOFF_LIMIT: Final = 4
"""Pods that may fail, with waits of 10, 20, 40 and 80 s, before the Job fails and is created again."""
TERMINATION_GRACE_SECONDS: Final = 5
_VOLUME: Final = "storage"


def publication_job(
    training: VideoModelTraining, app: specs.AppDef, config: PublicationConfig, settings: Settings
) -> dict[str, Any]:
    """The Job of the publication that `config` describes."""
    (role,) = app.roles
    labels = ownership.labels(training, names.COMPONENT_PUBLISHER, config.run, config.attempt)
    labels[names.LABEL_DIGEST] = names.short_digest(config.model_digest)
    name = names.publication_job_name(config.name, config.run, config.attempt)
    final = sorted([EXIT_CODES["user_error"], EXPORT_BROKEN_EXIT])
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": ownership.job_metadata(training, name, labels),
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": BACKOFF_LIMIT,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": role.name, "operator": "In", "values": final},
                    },
                ]
            },
            "template": helper_pod(training, {"metadata": {"labels": labels}, "spec": _pod(training, role, settings)}),
        },
    }


def _pod(training: VideoModelTraining, role: specs.Role, settings: Settings) -> dict[str, Any]:
    spec = base_pod(training, settings)
    spec["restartPolicy"] = "Never"
    spec["terminationGracePeriodSeconds"] = TERMINATION_GRACE_SECONDS
    secret = names.publication_secret_name(training.metadata.name)
    spec["volumes"].append({"name": _VOLUME, "secret": {"secretName": secret, "defaultMode": 0o440}})
    found = container(role, settings)
    found["resources"] = {"requests": dict(DEFAULT_REQUESTS)}
    found["volumeMounts"].append({"name": _VOLUME, "mountPath": names.STORAGE_SECRET_DIR, "readOnly": True})
    spec["containers"] = [found]
    return spec
