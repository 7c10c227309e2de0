"""The Indexed Job that prepares the recorded clips of a run: as many pods as the run has nodes, resized like them.

Any number of pods may come and go, since each looks in the bucket for what is left to do. So a failed pod is replaced a
few times, and the others go on. The keys and the egress of these pods are their own: they read what strangers have
uploaded, and they alone may reach the captioning endpoint.
"""

from __future__ import annotations

from typing import Any, Final

from torchx import specs

from kinema_api import names
from kinema_api.pod_template import TrainerPodTemplate
from kinema_api.prepare import PrepareConfig
from kinema_api.recorded import CaptionEndpoint
from kinema_api.resources import Resources
from kinema_api.training import VideoModelTraining
from kinema_operator.core import pod_template, pods
from kinema_operator.core.egress import endpoint_egress
from kinema_operator.core.plan import KubeObject
from kinema_operator.core.settings import Settings
from kinema_operator.training.objects import ownership
from kinema_operator.training.objects.job import (
    DEFAULT_REQUESTS,
    LIVENESS_PROBE,
    STARTUP_PROBE,
    elastic_job,
    elsewhere,
    worker_pod,
)

BACKOFF_LIMIT_PER_INDEX: Final = 4
"""Pods of an index that may fail, with waits of 10, 20, 40 and 80 s, before the index does."""


def preparation_job(
    training: VideoModelTraining, app: specs.AppDef, config: PrepareConfig, nodes: int, settings: Settings
) -> dict[str, Any]:
    """The Job that prepares the clips that `config` describes, at `nodes` nodes."""
    (role,) = app.roles
    at = (config.run, training.status.attempt)
    labels = ownership.labels(training, names.COMPONENT_PREPARER, *at)
    selector = ownership.selector(training, names.COMPONENT_PREPARER, *at)
    template = without_devices(training.spec.trainer_template)
    own = {"labels": labels, "annotations": pods.prometheus_annotations(names.PROGRESS_PORT)}
    metadata = ownership.job_metadata(training, names.preparation_name(config.name, config.run), labels)
    pod = {
        "metadata": pod_template.merged_metadata(own, template, training.metadata.labels),
        "spec": pod_template.merged_spec(_own_spec(training, role, settings), template, selector, DEFAULT_REQUESTS),
    }
    return elastic_job(metadata, role.name, nodes, BACKOFF_LIMIT_PER_INDEX, pod)


def endpoint_policy(training: VideoModelTraining, endpoint: CaptionEndpoint) -> KubeObject:
    """The NetworkPolicy that lets these pods alone reach the captioning endpoint, beside what all trainings reach."""
    labels = ownership.labels(training, names.COMPONENT_PREPARER)
    wanted = {
        names.LABEL_TRAINING: training.metadata.name,
        names.LABEL_TRAINING_UID: training.metadata.uid,
        names.LABEL_COMPONENT: names.COMPONENT_PREPARER,
    }
    name = names.preparation_name(training.metadata.name, training.status.run)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": ownership.metadata(training, name, labels),
        "spec": {
            "podSelector": {"matchLabels": wanted},
            "policyTypes": ["Egress"],
            "egress": [endpoint_egress(endpoint.url)],
        },
    }


def without_devices(template: TrainerPodTemplate) -> TrainerPodTemplate:
    """The trainers' template without GPUs and other devices, which preparing does not use."""
    if template.resources is None:
        return template
    requests, limits = (
        {name: value for name, value in part.items() if "/" not in name}
        for part in (template.resources.requests, template.resources.limits)
    )
    return template.model_copy(update={"resources": Resources(requests=requests, limits=limits)})


def _own_spec(training: VideoModelTraining, role: specs.Role, settings: Settings) -> dict[str, Any]:
    spec = worker_pod(training, role, settings, names.preparation_secret_name(training.metadata.name))
    if training.status.excluded_nodes:
        spec["affinity"] = elsewhere(training.status.excluded_nodes)
    (preparer,) = spec["containers"]
    preparer["startupProbe"] = STARTUP_PROBE
    preparer["livenessProbe"] = LIVENESS_PROBE
    return spec
