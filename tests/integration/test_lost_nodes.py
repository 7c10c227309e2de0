"""A node that is gone, on a real API server; the test does what kubelets, Job controller and trainers would do."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from integration.one_training import (
    Agent,
    answering,
    condition,
    job_of,
    operator,
    operator_settings,
    status,
    training,
)
from integration.server import Server, until
from kinema_api.wire import TrainerProgress
from kinema_operator.core.resources import ref_to
from kinema_operator.core.settings import Settings
from kinema_operator.registry import controllers
from kinema_operator.shell.client import Client
from kinema_operator.shell.connection import Connection
from kinema_operator.shell.runtime import Runtime

pytestmark = pytest.mark.apiserver

COUNTS = (
    "batch.kubernetes.io/job-index-failure-count",
    "batch.kubernetes.io/job-index-ignored-failure-count",
)


@pytest.fixture
def settings(minio_endpoint: str, tmp_path: Path) -> Settings:
    return operator_settings(minio_endpoint, tmp_path, progress_interval_seconds=0.5, pod_timeout_seconds=0.5)


@pytest_asyncio.fixture
async def agent() -> AsyncIterator[Agent]:
    """Trainers that answer."""
    async with answering(Agent()) as made:
        made.progress = TrainerProgress(run=1, attempt=1, round=1, rank=0, world_size=2, step=7, total_steps=20)
        yield made


async def node(connection: Connection) -> str:
    """A Node object that is Ready; its name."""
    name = f"node-{uuid.uuid4().hex[:8]}"
    body = {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    url, headers = f"{connection.server}/api/v1/nodes", await connection.headers()
    async with connection.session() as http, http.post(url, json=body, headers=headers) as answer:
        assert answer.status == 201, await answer.text()
    return name


async def lose(connection: Connection, name: str) -> None:
    """As kube-controller-manager says that a kubelet is not heard of."""
    body = {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
    url = f"{connection.server}/api/v1/nodes/{name}/status"
    headers = {**await connection.headers(), "Content-Type": "application/strategic-merge-patch+json"}
    async with connection.session() as http, http.patch(url, json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


async def pod_on(
    client: Client, namespace: str, job: dict[str, Any], where: str, ip: str, **annotations: str
) -> dict[str, Any]:
    """A trainer that has run on a node for a minute."""
    template = job["spec"]["template"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{job['metadata']['name']}-{uuid.uuid4().hex[:5]}",
            "namespace": namespace,
            "labels": template["metadata"]["labels"],
            "annotations": annotations,
            # As the Job controller's pods have it: deletion is not the end.
            "finalizers": ["batch.kubernetes.io/job-tracking"],
            "ownerReferences": [owner | {"controller": True}],
        },
        "spec": {**template["spec"], "nodeName": where},
    }
    made = await client.post(pod)
    since = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    container = {"name": "trainer", "image": "i", "imageID": "", "ready": True, "restartCount": 0}
    body = {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "containerStatuses": [container | {"state": {"running": {"startedAt": since}}}],
        "conditions": [{"type": "Ready", "status": "False"}],
    }
    return await client.patch_status(ref_to(made), body, made["metadata"]["resourceVersion"])


async def test_a_pod_on_a_lost_node_is_failed_as_a_disruption_so_that_its_job_replaces_it(
    server: Server, connection: Connection, client: Client, namespace: str, settings: Settings, agent: Agent
) -> None:
    lost, healthy = await node(connection), await node(connection)
    async with operator(server, namespace, settings, agent):
        await client.post(training(namespace))
        job = await job_of(client, namespace, 1)
        silent = await pod_on(client, namespace, job, lost, "127.0.0.3")
        answers = await pod_on(client, namespace, job, lost, "127.0.0.2")
        elsewhere = await pod_on(client, namespace, job, healthy, "127.0.0.2")
        await lose(connection, lost)

        async def failed() -> dict[str, Any] | None:
            found = await client.get("Pod", namespace, silent["metadata"]["name"])
            return found if found and found["status"]["phase"] == "Failed" else None

        found = await until(failed, "the pod on the lost node marked Failed")
        assert condition(found["status"], "DisruptionTarget")["status"] == "True"
        assert condition(found["status"], "Ready")["status"] == "False", "the other conditions stay"
        assert found["metadata"]["deletionTimestamp"], "its node's kubelet ends it when it is back"
        for pod in (answers, elsewhere):
            left = await client.get("Pod", namespace, pod["metadata"]["name"]) or {}
            assert left["status"]["phase"] == "Running"
            assert "deletionTimestamp" not in left["metadata"], "a trainer that answers is at work"
        assert (await status(client, namespace))["attempt"] == 1
        assert not condition(await status(client, namespace), "NodesWatched"), "nothing to say where nodes are watched"


async def test_nodes_come_and_go_without_ending_the_watch_of_any_controller(
    server: Server, connection: Connection, client: Client, namespace: str, settings: Settings
) -> None:
    own = settings.model_copy(update={"watch_namespace": namespace, "pod_namespace": namespace})
    runtime = Runtime(own, await Connection.load(server.kubeconfig, "kinema-operator"), controllers)
    await runtime.start()
    try:

        async def leads() -> bool:
            return runtime.leader.leading

        await until(leads, "a leader")
        name = await node(connection)
        await until(lambda: known(runtime, name, "True"), "a new node")
        await lose(connection, name)
        await until(lambda: known(runtime, name, "Unknown"), "its loss")
        assert runtime.failure is None
    finally:
        await runtime.stop()


async def known(runtime: Runtime, name: str, ready: str) -> bool:
    """What the operator has seen of a node."""
    found = runtime.cache.get("Node", "", name)
    return bool(found) and condition((found or {})["status"], "Ready").get("status") == ready


async def test_earlier_failures_of_a_healthy_pod_hold_no_later_replacement_back(
    server: Server, connection: Connection, client: Client, namespace: str, settings: Settings, agent: Agent
) -> None:
    healthy = await node(connection)
    async with operator(server, namespace, settings, agent):
        await client.post(training(namespace))
        job = await job_of(client, namespace, 1)
        pod = await pod_on(client, namespace, job, healthy, "127.0.0.2", **dict.fromkeys(COUNTS, "5"))

        async def forgotten() -> bool:
            found = await client.get("Pod", namespace, pod["metadata"]["name"]) or {}
            return [found["metadata"]["annotations"][name] for name in COUNTS] == ["0", "0"]

        await until(forgotten, "failure counts of 0")
