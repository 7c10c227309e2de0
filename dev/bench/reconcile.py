"""make bench NAME=reconcile: how fast the operator turns many trainings into objects, and what many objects cost it.

First 500 trainings are created at once, not suspended, with a node selector that no node satisfies. Measured for each,
by the API server's audit log: seconds from its creation to that of its Job, and to that of its last child (Secret,
rendezvous pod, Job, shared objects); and the operator's writes.

Then 4,500 finished resources are added while no operator runs, and the operator is started again. Once it is quiet, the
leader is deleted, and writes by the operator's account are counted until it is quiet again, without Leases, but with
applies that change nothing. The new leader has then reconciled every resource once: `look_p99_ms` is how long a
reconcile occupied its event loop (upper bound of the bucket), and `operator_rss_mib` its memory.

Baseline in the same run: the same number of plain Indexed Jobs, created by as many parallel requests.
Environment: KINEMA_BENCH_OBJECTS (500), KINEMA_BENCH_FINISHED (4500).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubernetes.aio import client, config

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import finished
from bench.starts import Starts, histogram_percentile, is_write, moment, read
from cluster.settings import Settings
from kinema_api import names
from kinema_api.training import KIND, PLURAL
from stage import install, kube
from stage.measure import machine, percentile, quiet, result
from stage.objects import resource

NAMESPACE = "kinema-bench-reconcile"
SYSTEM = "kinema-system"
OPERATOR = f"system:serviceaccount:{SYSTEM}:kinema-operator"
DEPLOYMENT = "deployment/kinema-operator"
OBJECTS = int(os.environ.get("KINEMA_BENCH_OBJECTS", "500"))
FINISHED = int(os.environ.get("KINEMA_BENCH_FINISHED", "4500"))
PARALLEL = 32
MERGE: Any = {"_content_type": "application/merge-patch+json"}
CHILD_KINDS = ("Job", "Pod")
"""Kinds of which each training has one, by the operator's metrics."""
NOWHERE = {"kubernetes.io/arch": "none"}
"""A selector that also applies to the rendezvous pod, so that only the control plane runs."""
QUIET_SECONDS = 20.0
AUDIT = Settings.from_environment().audit_log.parent


def training(index: int) -> dict[str, Any]:
    """A training that no node can run."""
    spec = {
        "model": {"preset": "tiny"},
        "data": {"world": {"seed": index}},
        "optimization": {"steps": 100},
        "nodes": 2,
        "worker": {"nodeSelector": NOWHERE},
    }
    return resource(KIND, f"many-{index:04d}", spec, NAMESPACE)


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


@asynccontextmanager
async def many() -> AsyncIterator[tuple[client.CustomObjectsApi, asyncio.Semaphore]]:
    """The API client and a semaphore for parallel requests."""
    await config.load_kube_config(config_file=kube.kubeconfig())  # type: ignore[no-untyped-call]
    async with client.ApiClient() as connection:
        yield client.CustomObjectsApi(connection), asyncio.Semaphore(PARALLEL)


async def at_once(count: int, one: Callable[[int], Awaitable[Any]], gate: asyncio.Semaphore) -> float:
    """Do something for each number over parallel requests; seconds taken."""

    async def gated(index: int) -> None:
        async with gate:
            await one(index)

    begun = time.monotonic()
    await asyncio.gather(*(gated(index) for index in range(count)))
    return time.monotonic() - begun


async def create_all(group: str, plural: str, make: Callable[[int], dict[str, Any]]) -> float:
    """Create every object over parallel requests; seconds taken."""
    version = names.VERSION if group == names.GROUP else "v1"
    async with many() as (api, gate):

        async def create(index: int) -> None:
            await api.create_namespaced_custom_object(group, version, NAMESPACE, plural, make(index))

        return await at_once(OBJECTS, create, gate)


async def create_finished(count: int, namespace: str = NAMESPACE) -> float:
    """Create finished resources as an administrator; returns the seconds taken."""
    async with many() as (api, gate):

        async def create(index: int) -> None:
            wanted = finished.finished(namespace, index)
            at = (names.GROUP, names.VERSION, namespace, finished.plural(wanted))
            made: Any = await api.create_namespaced_custom_object(*at, wanted)
            body = {"metadata": {"annotations": finished.annotated(made)}}
            if body["metadata"]["annotations"]:
                await api.patch_namespaced_custom_object(*at, made["metadata"]["name"], body, **MERGE)
            status = {"status": finished.status(made, datetime.now(UTC).replace(microsecond=0))}
            await api.patch_namespaced_custom_object_status(*at, made["metadata"]["name"], status, **MERGE)

        return await at_once(count, create, gate)


def audit(since: float) -> Iterator[dict[str, Any]]:
    """Finished requests since then, oldest file first."""
    for file in sorted(AUDIT.glob("audit*.log"), key=lambda f: f.stat().st_mtime):
        for line in file.read_text().splitlines():
            event = json.loads(line)
            if event.get("stage") == "ResponseComplete" and moment(event["stageTimestamp"]) >= since:
                yield event


def writes(since: float) -> list[str]:
    """Writes by the operator's account, Leases excepted."""
    return [
        f"{event['verb']} {event['objectRef'].get('resource')}/{event['objectRef'].get('name')}"
        for event in audit(since)
        if is_write(event, OPERATOR)
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
    """Children that the leader has made so far, by its metrics: lists would slow the API server down."""
    return sum(
        value
        for key, value in metrics.items()
        if key.startswith("kinema_operator_writes_total") and any(f'kind="{kind}"' in key for kind in CHILD_KINDS)
    )


def until_quiet(since: float) -> list[str]:
    """The operator's writes since then, once it has written nothing for a while."""
    kube.until(_leads, "a leader", 120)
    seen, steady = -1, time.monotonic()
    while time.monotonic() - steady < QUIET_SECONDS:
        count = len(writes(since))
        if count != seen:
            seen, steady = count, time.monotonic()
        time.sleep(1)
    return writes(since)


def restart() -> list[str]:
    """Delete the leader; returns the writes of its successor until it is quiet."""
    name, _ = leader_metrics()
    since = time.time()
    kube.kubectl("delete", "pod", name, "-n", SYSTEM, "--wait=true")
    return until_quiet(since)


def put_finished() -> list[str]:
    """Create the finished resources while no operator runs; returns its writes after it is started again."""
    replicas = (kube.get("deployment", "kinema-operator", SYSTEM) or {})["spec"]["replicas"]
    selector = f"{names.LABEL_COMPONENT}={names.COMPONENT_OPERATOR}"
    kube.kubectl("scale", DEPLOYMENT, "--replicas=0", "-n", SYSTEM)
    try:
        kube.until(lambda: not kube.items("pods", SYSTEM, selector), "no operator", 120)
        seconds = asyncio.run(create_finished(FINISHED))
        print(f"{FINISHED} finished resources put there in {seconds:.1f} s", flush=True)
    finally:
        since = time.time()
        kube.kubectl("scale", DEPLOYMENT, f"--replicas={replicas}", "-n", SYSTEM)
    kube.until(_leads, "a leader", 120)
    return until_quiet(since)


def _leads() -> bool:
    try:
        return bool(leader_metrics())
    except kube.StageError:
        return False


def start_figures(started: Starts) -> dict[str, float]:
    """Figures of the start of many trainings."""
    to_job, to_children = started.to_job(), started.to_children()
    return {
        "apply_to_job_p50_s": round(percentile(to_job, 50), 2),
        "apply_to_job_p99_s": round(percentile(to_job, 99), 2),
        "apply_to_children_p50_s": round(percentile(to_children, 50), 2),
        "apply_to_children_p99_s": round(percentile(to_children, 99), 2),
        "jobs_per_second": round(started.jobs_per_second(), 1),
        "status_patches_per_object": round(started.each("patch videomodeltrainings/status"), 2),
        "status_patches_per_object_in_burst": round(started.each("patch videomodeltrainings/status", burst=True), 2),
        "creations_per_object": round(started.creations(), 2),
        "events_per_object": round(started.each("create events", "patch events"), 2),
    }


def main() -> int:
    """Measure and print."""
    install.install()
    kube.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", seconds=600)
    kube.restricted_namespace(NAMESPACE)
    was_quiet = quiet()
    kube.until(_leads, "a leader", 120)
    _, before = leader_metrics()
    since = time.time()
    created = asyncio.run(create_all(names.GROUP, PLURAL, training))
    print(f"{OBJECTS} trainings created in {created:.1f} s", flush=True)
    wanted = made(before) + OBJECTS * len(CHILD_KINDS)
    kube.until(lambda: made(leader_metrics()[1]) >= wanted, f"{OBJECTS} trainings' children", 600, poll=2.0)
    time.sleep(QUIET_SECONDS)
    _, after = leader_metrics()
    started = read(audit(since), NAMESPACE, OPERATOR)
    settling = put_finished()
    after_restart = restart()
    _, held = leader_metrics()
    look_p99, looks = histogram_percentile(held, "kinema_operator_look_seconds", 99)
    baseline = asyncio.run(create_all("batch", "jobs", plain_job))
    kube.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    print("writes after the restart:", after_restart[:10], flush=True)
    result(
        "reconcile",
        samples=len(started.to_children()),
        machine=machine(),
        objects=OBJECTS,
        **start_figures(started),
        reconciles_per_object=round((reconciles(after) - reconciles(before)) / OBJECTS, 2),
        operator_rss_mib=round(held["process_resident_memory_bytes"] / 2**20, 1),
        operator_rss_after_start_mib=round(after["process_resident_memory_bytes"] / 2**20, 1),
        restart_writes=len(after_restart),
        held_objects=OBJECTS + FINISHED,
        finished_objects=FINISHED,
        settling_writes=len(settling),
        look_p99_ms=round(look_p99 * 1000, 2),
        look_samples=looks,
        create_seconds=round(created, 2),
        plain_jobs_create_seconds=round(baseline, 2),
        quiet_before=was_quiet,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
