"""make bench NAME=reconcile: how fast the operator turns many trainings into objects, and what a restart costs.

500 trainings are created at once, not suspended, on a node selector that no node satisfies. For each: seconds from
its creation to that of the last of its children (Job, Services, rendezvous pod), both by the API server's audit log.
Then the leader is deleted, and writes by the operator's account are counted until it has been quiet: Leases excepted,
applies that change nothing included.

Baseline in the same run: the same number of plain Indexed Jobs, created by as many parallel requests.
Environment: KINEMA_BENCH_OBJECTS (500).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from kubernetes.aio import client, config

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster.settings import Settings
from kinema_api import names
from kinema_api.training import PLURAL
from stage import kube
from stage.measure import machine, percentile, quiet, result

NAMESPACE = "kinema-bench-reconcile"
SYSTEM = "kinema-system"
OPERATOR = f"system:serviceaccount:{SYSTEM}:kinema-operator"
OBJECTS = int(os.environ.get("KINEMA_BENCH_OBJECTS", "500"))
PARALLEL = 32
CHILDREN = ("jobs", "services", "pods")
CHILD_KINDS = ("Job", "Service", "Pod")
WRITES = ("create", "update", "patch", "delete", "deletecollection")
NOWHERE = {"kinema.dev/no-such-node": "true"}
QUIET_SECONDS = 20.0
AUDIT = Settings.from_environment().audit_log.parent


def training(index: int) -> dict[str, Any]:
    """A training that no node can run."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": "VideoModelTraining",
        "metadata": {"name": f"many-{index:04d}", "namespace": NAMESPACE},
        "spec": {
            "model": {"preset": "tiny"},
            "data": {"world": {"seed": index}},
            "optimization": {"steps": 100},
            "nodes": 2,
            "worker": {"nodeSelector": NOWHERE},
        },
    }


def plain_job(index: int) -> dict[str, Any]:
    """The baseline's object: an Indexed Job and nothing else."""
    container = {"name": "c", "image": "none", "securityContext": {"allowPrivilegeEscalation": False}}
    pod = {"restartPolicy": "Never", "nodeSelector": NOWHERE, "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"plain-{index:04d}", "namespace": NAMESPACE},
        "spec": {"completionMode": "Indexed", "completions": 2, "parallelism": 2, "template": {"spec": pod}},
    }


async def create_all(group: str, plural: str, make: Callable[[int], dict[str, Any]]) -> float:
    """Create every object over parallel requests; seconds taken."""
    version = names.VERSION if group == names.GROUP else "v1"
    await config.load_kube_config(config_file=kube.kubeconfig())  # type: ignore[no-untyped-call]
    begun = time.monotonic()
    gate = asyncio.Semaphore(PARALLEL)
    async with client.ApiClient() as connection:
        api = client.CustomObjectsApi(connection)

        async def create(index: int) -> None:
            async with gate:
                await api.create_namespaced_custom_object(group, version, NAMESPACE, plural, make(index))

        await asyncio.gather(*(create(index) for index in range(OBJECTS)))
    return time.monotonic() - begun


def audit(since: float) -> Iterator[dict[str, Any]]:
    """Finished requests since then, oldest file first."""
    for file in sorted(AUDIT.glob("audit*.log"), key=lambda f: f.stat().st_mtime):
        for line in file.read_text().splitlines():
            event = json.loads(line)
            if event.get("stage") == "ResponseComplete" and moment(event["stageTimestamp"]) >= since:
                yield event


def moment(text: str) -> float:
    """Seconds since the epoch of an audit timestamp."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def apply_to_children(since: float) -> list[float]:
    """For each training, seconds from its creation to that of its last child."""
    born: dict[str, float] = {}
    last: dict[str, float] = defaultdict(float)
    for event in audit(since):
        ref = event.get("objectRef", {})
        if ref.get("namespace") != NAMESPACE or event["responseStatus"]["code"] not in (200, 201):
            continue
        name, when = ref.get("name", ""), moment(event["stageTimestamp"])
        if ref.get("resource") == PLURAL and event["verb"] == "create":
            born[name] = when
        elif ref.get("resource") in CHILDREN and event["user"]["username"] == OPERATOR and event["verb"] in WRITES:
            owner = "-".join(name.split("-")[:2])
            last[owner] = max(last[owner], when)
    return [last[name] - when for name, when in born.items() if name in last]


def writes(since: float) -> list[str]:
    """Writes by the operator's account, Leases excepted."""
    return [
        f"{event['verb']} {event['objectRef'].get('resource')}/{event['objectRef'].get('name')}"
        for event in audit(since)
        if event["user"]["username"] == OPERATOR
        and event["verb"] in WRITES
        and event.get("objectRef", {}).get("resource") != "leases"
    ]


def leader_metrics() -> tuple[str, dict[str, float]]:
    """(pod name, metrics) of the leader."""
    for pod in kube.items("pods", SYSTEM, f"{names.LABEL_COMPONENT}={names.COMPONENT_OPERATOR}"):
        address = pod.get("status", {}).get("podIP")
        if not address or pod["metadata"].get("deletionTimestamp"):
            continue
        try:
            with urllib.request.urlopen(f"http://{address}:9600/metrics", timeout=5) as answer:
                found = dict(
                    line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#")
                )
        except OSError:
            continue
        values = {key: float(value) for key, value in found.items()}
        if values.get("kinema_operator_leader") == 1:
            return pod["metadata"]["name"], values
    raise kube.StageError("no operator pod says that it leads; see `kubectl get pods -n kinema-system`")


def reconciles(metrics: dict[str, float]) -> float:
    """Reconciles of trainings so far."""
    return sum(
        value
        for key, value in metrics.items()
        if key.startswith("kinema_operator_reconciles_total") and "VideoModelTraining" in key
    )


def made(metrics: dict[str, float]) -> float:
    """Children that the leader has made so far, by its own count: asking the API server for them would slow it."""
    return sum(
        value
        for key, value in metrics.items()
        if key.startswith("kinema_operator_writes_total") and any(f'kind="{kind}"' in key for kind in CHILD_KINDS)
    )


def quiet_writes() -> list[str]:
    """Delete the leader; what its successor writes until it has been silent for a while."""
    name, _ = leader_metrics()
    since = time.time()
    kube.kubectl("delete", "pod", name, "-n", SYSTEM, "--wait=true")
    kube.until(lambda: _leads(), "another leader", 60)
    seen, steady = -1, time.monotonic()
    while time.monotonic() - steady < QUIET_SECONDS:
        count = len(writes(since))
        if count != seen:
            seen, steady = count, time.monotonic()
        time.sleep(1)
    return writes(since)


def _leads() -> bool:
    try:
        return bool(leader_metrics())
    except kube.StageError:
        return False


def main() -> int:
    """Measure and print."""
    kube.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", seconds=600)
    kube.restricted_namespace(NAMESPACE)
    was_quiet = quiet()
    _, before = leader_metrics()
    since = time.time()
    created = asyncio.run(create_all(names.GROUP, PLURAL, training))
    print(f"{OBJECTS} trainings created in {created:.1f} s", flush=True)
    wanted = made(before) + OBJECTS * len(CHILD_KINDS)
    kube.until(lambda: made(leader_metrics()[1]) >= wanted, f"{OBJECTS} trainings' children", 600, poll=2.0)
    samples = apply_to_children(since)
    time.sleep(QUIET_SECONDS)
    _, after = leader_metrics()
    after_restart = quiet_writes()
    baseline = asyncio.run(create_all("batch", "jobs", plain_job))
    kube.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    print("writes after the restart:", after_restart[:10], flush=True)
    result(
        "reconcile",
        samples=len(samples),
        machine=machine(),
        objects=OBJECTS,
        apply_to_children_p50_s=round(percentile(samples, 50), 2),
        apply_to_children_p99_s=round(percentile(samples, 99), 2),
        reconciles_per_object=round((reconciles(after) - reconciles(before)) / OBJECTS, 2),
        operator_rss_mib=round(after["process_resident_memory_bytes"] / 2**20, 1),
        restart_writes=len(after_restart),
        create_seconds=round(created, 2),
        plain_jobs_create_seconds=round(baseline, 2),
        quiet_before=was_quiet,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
