"""The operator's shell with a small controller: each training has one Job, one Service and one Pod per attempt.

A Job labelled `kinema.dev/lost=true` has failed: the next attempt replaces it. Run as a program it is one replica.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kinema_api import names
from kinema_api.base import Condition, set_condition
from kinema_api.training import KIND, VideoModelTraining
from kinema_operator.core.controller import AnyController, Cache
from kinema_operator.core.plan import Apply, Effect, Event, Key, KubeObject, Plan
from kinema_operator.core.resources import ref_to
from kinema_operator.core.settings import Settings
from kinema_operator.main import run
from kinema_operator.shell import logs
from kinema_operator.shell.client import Client

LOST = f"{names.GROUP}/lost"


@dataclass(frozen=True)
class KeySpan:
    """What there is."""

    jobs: tuple[KubeObject, ...]
    pods: tuple[KubeObject, ...]


class AttemptsController:
    """Counts attempts."""

    kind = KIND

    def keys_for(self, obj: KubeObject) -> Iterable[Key]:
        metadata = obj["metadata"]
        name = metadata["name"] if obj["kind"] == KIND else (metadata.get("labels") or {}).get(names.LABEL_TRAINING)
        if name:
            yield Key(KIND, metadata["namespace"], name)

    def parse(self, obj: KubeObject) -> tuple[KubeObject, VideoModelTraining]:
        return obj, VideoModelTraining.parse(obj)

    async def observe(self, key: Key, resource: Any, cache: Cache) -> KeySpan:
        labels = {names.LABEL_TRAINING: key.name}
        return KeySpan(tuple(cache.list("Job", key.namespace, labels)), tuple(cache.list("Pod", key.namespace, labels)))

    def plan(self, resource: tuple[KubeObject, VideoModelTraining], observed: KeySpan, now: datetime) -> Plan:
        obj, training = resource
        status = training.status
        lost = [job for job in observed.jobs if job["metadata"]["labels"].get(LOST)]
        current = [job for job in lost if job["metadata"]["labels"][names.LABEL_ATTEMPT] == str(status.attempt)]
        if status.attempt == 0 or current:
            attempt = status.attempt + 1
            changed = status.model_copy(update={"attempt": attempt, "phase": "Training", "run": 1})
            started = Event("AttemptStarted", f"Attempt {attempt} starts")
            return Plan(status=changed, events=(started,), requeue_after=0)
        condition = Condition(type="Running", status="True", reason="Started", last_transition_time=now)
        return Plan(
            delete=tuple(ref_to(job) for job in lost),
            apply=tuple(self._children(obj, training)),
            status=status.model_copy(update={"conditions": set_condition(status.conditions, condition)}),
        )

    async def perform(self, key: Key, resource: Any, effect: Effect) -> None:
        raise AssertionError("this controller has no effects")

    async def close(self) -> None:
        pass

    def _children(self, obj: KubeObject, training: VideoModelTraining) -> Iterable[Apply]:
        attempt = training.status.attempt
        pod = {
            "restartPolicy": "Never",
            "containers": [{"name": "c", "image": "none", "resources": {"requests": {"cpu": "1000m"}}}],
        }
        job = {"completionMode": "Indexed", "completions": 2, "parallelism": 2, "template": {"spec": pod}}
        service = {
            "clusterIP": "None",
            "selector": {names.LABEL_TRAINING: training.metadata.name},
            "ports": [{"port": 80, "name": "http"}] if training.spec.suspend else [{"port": 81, "name": "http"}],
        }
        yield Apply(
            _child(obj, "batch/v1", "Job", names.job_name(training.metadata.name, 1, attempt), attempt, job), True
        )
        yield Apply(_child(obj, "v1", "Pod", names.store_name(training.metadata.name, 1, attempt), attempt, pod), True)
        yield Apply(_child(obj, "v1", "Service", names.pods_service_name(training.metadata.name), 1, service))


def _child(obj: KubeObject, version: str, kind: str, name: str, attempt: int, spec: dict[str, Any]) -> KubeObject:
    owner = obj["metadata"]
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": owner["namespace"],
            "labels": {
                **names.common_labels(owner["name"], names.COMPONENT_TRAINER),
                names.LABEL_TRAINING: owner["name"],
                names.LABEL_ATTEMPT: str(attempt),
            },
            "ownerReferences": [
                {
                    "apiVersion": obj["apiVersion"],
                    "kind": obj["kind"],
                    "name": owner["name"],
                    "uid": owner["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": spec,
    }


def training(namespace: str, name: str) -> KubeObject:
    """A training to apply."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"preset": "tiny"},
            "data": {"world": {"seed": 1}},
            "optimization": {"steps": 10},
            "nodes": 2,
        },
    }


def factory(settings: Settings, client: Client) -> list[AnyController]:
    """The one controller."""
    return [AttemptsController()]


if __name__ == "__main__":
    options = Settings()
    logs.configure(options.log_format, options.log_level)
    sys.exit(asyncio.run(run(options, factory)))
