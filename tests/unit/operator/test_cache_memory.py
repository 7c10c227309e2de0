"""Ten thousand trainings fit into the operator's memory: of pods and Jobs only what somebody reads is kept."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any, Final

from kinema_operator.core.resources import MANAGED_SELECTOR
from kinema_operator.shell.cache import ObjectCache

SAMPLES: Final = 400
TRAININGS: Final = 10_000
BUDGET_MIB: Final = 200
"""Of pods and Jobs, which leaves a third of 300 MiB to the trainings themselves and to everything else."""


def pod_spec() -> dict[str, Any]:
    env = [{"name": f"KINEMA_VARIABLE_{n}", "value": f"value of the variable {n}"} for n in range(14)]
    mounts = [{"name": f"volume-{n}", "mountPath": f"/var/run/kinema/{n}", "readOnly": True} for n in range(4)]
    probe = {"httpGet": {"path": "/healthz", "port": 9400, "scheme": "HTTP"}, "timeoutSeconds": 5, "periodSeconds": 10}
    container = {
        "name": "trainer", "image": "registry.example/kinema/worker:1.2.3", "command": ["python"],
        "args": ["-m", "kinema_jobs.train", "--config", json.dumps({"text": "x" * 1200})], "env": env,
        "volumeMounts": mounts, "livenessProbe": probe, "startupProbe": probe, "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "8", "memory": "64Gi"}, "limits": {"nvidia.com/gpu": "8"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }  # fmt: skip
    return {
        "containers": [container], "nodeName": "node-17", "restartPolicy": "Never",
        "tolerations": [{"key": f"key-{n}", "operator": "Exists", "effect": "NoExecute"} for n in range(4)],
        "volumes": [{"name": f"volume-{n}", "emptyDir": {"sizeLimit": "32Gi"}} for n in range(4)],
        "securityContext": {"runAsUser": 1234567890, "seccompProfile": {"type": "RuntimeDefault"}},
    }  # fmt: skip


def metadata(kind: str, index: int) -> dict[str, Any]:
    owner = {"apiVersion": "v1", "kind": "Owner", "name": f"owner-{index}", "uid": f"o-{index}", "controller": True}
    managed = {"manager": "m", "operation": "Update", "fieldsV1": {f"f:{n}": {".": {}} for n in range(60)}}
    return {
        "name": f"{kind.lower()}-{index}", "namespace": f"team-{index % 20}", "uid": f"uid-{kind}-{index}",
        "resourceVersion": str(index + 1), "creationTimestamp": "2026-03-01T00:00:00Z", "ownerReferences": [owner],
        "labels": {**MANAGED_SELECTOR, **{f"kinema.dev/label-{n}": f"value-{n}" for n in range(6)}},
        "annotations": {"prometheus.io/port": "9400"}, "managedFields": [managed] * 2,
    }  # fmt: skip


def pod(index: int) -> dict[str, Any]:
    time = "2026-03-01T00:00:00Z"
    types = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    conditions = [{"type": t, "status": "True", "lastProbeTime": None, "lastTransitionTime": time} for t in types]
    container = {
        "name": "trainer", "state": {"running": {"startedAt": time}}, "lastState": {}, "ready": True, "restartCount": 0,
        "image": "registry.example/kinema/worker:1.2.3", "imageID": "sha256:" + "a" * 64, "containerID": "c" * 64,
        "volumeMounts": [{"name": f"volume-{n}", "mountPath": f"/var/run/kinema/{n}"} for n in range(4)],
    }  # fmt: skip
    status = {
        "phase": "Running", "podIP": f"10.0.{index % 250}.1", "hostIP": "10.1.0.1", "startTime": time,
        "qosClass": "Burstable", "conditions": conditions, "containerStatuses": [container],
    }  # fmt: skip
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata("Pod", index), "spec": pod_spec(), "status": status}


def job(index: int) -> dict[str, Any]:
    spec = {"parallelism": 2, "completions": 2, "suspend": False, "template": {"metadata": {}, "spec": pod_spec()}}
    return {
        "kind": "Job", "apiVersion": "batch/v1", "metadata": metadata("Job", index), "spec": spec,
        "status": {"active": 2, "ready": 2, "uncountedTerminatedPods": {}},
    }  # fmt: skip


def test_ten_thousand_trainings_fit_into_the_operators_memory() -> None:
    """Per training two trainers, a rendezvous and a Job, each parsed from JSON as it comes from the API server."""
    cache = ObjectCache(lambda _: None)
    cache.watch_kind("Pod", MANAGED_SELECTOR)
    cache.watch_kind("Job", MANAGED_SELECTOR)
    texts = [json.dumps(pod(n)) for n in range(3 * SAMPLES)], [json.dumps(job(n)) for n in range(SAMPLES)]
    tracemalloc.start()
    for kind, objects in zip(("Pod", "Job"), texts, strict=True):
        for text in objects:
            cache.advance(kind, "ADDED", json.loads(text))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(list(cache.list("Pod"))) == 3 * SAMPLES
    assert kept / SAMPLES * TRAININGS / 2**20 < BUDGET_MIB


def test_what_is_read_of_a_pod_and_a_job_is_kept() -> None:
    cache = ObjectCache(lambda _: None)
    cache.watch_kind("Pod", MANAGED_SELECTOR)
    cache.watch_kind("Job", MANAGED_SELECTOR)
    cache.advance("Pod", "ADDED", pod(1))
    cache.advance("Job", "ADDED", job(1))
    (found,), (work,) = cache.list("Pod"), cache.list("Job")
    assert found["spec"]["nodeName"] == "node-17"
    assert found["status"]["podIP"] == "10.0.1.1"
    assert found["status"]["containerStatuses"][0]["state"] == {"running": {"startedAt": "2026-03-01T00:00:00Z"}}
    assert found["metadata"]["ownerReferences"] == pod(1)["metadata"]["ownerReferences"]
    assert (work["spec"]["parallelism"], work["status"]["active"]) == (2, 2)
