"""The Job that evaluates an attempt's model: one pod like the trainers', replaced when it fails.

Disruptions do not count as failures; a failure that a new pod cannot repair fails the Job by its exit code (KEP-3329).
"""

from __future__ import annotations

from typing import Any, Final

from torchx import specs

from kinema_api import names
from kinema_api.run import EvaluationConfig
from kinema_api.training import VideoModelTraining
from kinema_operator.core import pod_template
from kinema_operator.core.settings import Settings
from kinema_operator.training.objects import ownership
from kinema_operator.training.objects.job import DEFAULT_REQUESTS, failure_rules, worker_pod

BACKOFF_LIMIT: Final = 4
"""Pods that may fail, with waits of 10, 20, 40 and 80 s, before the Job fails."""


def evaluation_job(
    training: VideoModelTraining, app: specs.AppDef, config: EvaluationConfig, settings: Settings
) -> dict[str, Any]:
    """The Job of the evaluation that `config` describes."""
    (role,) = app.roles
    job_labels = ownership.labels(training, names.COMPONENT_EVALUATOR, config.run, config.attempt)
    job_labels[names.LABEL_DIGEST] = names.short_digest(config.model_digest)
    name = names.evaluation_job_name(config.name, config.run, config.attempt)
    template, own = training.spec.evaluator_template, worker_pod(training, role, settings)
    selector = ownership.selector(training, names.COMPONENT_EVALUATOR, config.run, config.attempt)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": ownership.job_metadata(training, name, job_labels),
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": BACKOFF_LIMIT,
            # The only value allowed with a podFailurePolicy: no replacement while the old pod may still write.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": failure_rules(role.name)},
            "template": {
                "metadata": pod_template.merged_metadata({"labels": job_labels}, template, training.metadata.labels),
                "spec": pod_template.merged_spec(own, template, selector, DEFAULT_REQUESTS),
            },
        },
    }
