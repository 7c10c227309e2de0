"""What the start of a training costs the API server, on a real one: no more writes than somebody reads."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from integration.one_training import (
    NAME,
    Agent,
    condition,
    job_of,
    operator,
    operator_settings,
    reaches,
    set_pod,
    start_pod,
    status,
    training,
)
from integration.server import Server, until
from kinema_api import names
from kinema_operator.core.resources import ref_to
from kinema_operator.core.settings import Settings
from kinema_operator.shell import metrics
from kinema_operator.shell.client import Client

pytestmark = pytest.mark.apiserver

KIND = "VideoModelTraining"
MANY = 4
STATUS_WRITES = "patch videomodeltrainings"


@pytest.fixture
def settings(minio_endpoint: str, tmp_path: Path) -> Settings:
    return operator_settings(minio_endpoint, tmp_path, progress_interval_seconds=60.0)


def writes(server: Server, namespace: str) -> Counter[str]:
    """Writes of the operator that were taken, by verb and resource."""
    taken = (w for w in server.writes(namespace) if w.endswith((" 200", " 201")))
    return Counter(write.split("/")[0] for write in taken)


def looks() -> float:
    """Looks at trainings so far."""
    return sum(
        sample.value
        for metric in metrics.RECONCILES.collect()
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.labels.get("kind") == KIND
    )


async def looked_again(since: float) -> None:
    async def more() -> bool:
        return looks() > since

    await until(more, "another look")


async def tell(client: Client, pod: dict[str, Any], message: str) -> dict[str, Any]:
    """Have the pod say why it is not scheduled."""
    told = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    body = {"phase": "Pending", "conditions": [told], "containerStatuses": None}
    return await client.patch_status(ref_to(pod), body, pod["metadata"]["resourceVersion"])


async def test_a_training_that_starts_costs_three_creations_a_status_and_no_event(
    server: Server, client: Client, namespace: str, settings: Settings, agent: Agent
) -> None:
    async with operator(server, namespace, settings, agent):
        for number in range(MANY):
            wanted = training(namespace)
            wanted["metadata"]["name"] = f"t{number}"
            await client.post(wanted)

        async def all_made() -> bool:
            made = writes(server, namespace)
            return made["create jobs"] == made["create pods"] == MANY

        await until(all_made, "Job and rendezvous of each")
        await looked_again(looks() - 1)
    found = writes(server, namespace)
    assert found["create secrets"] == MANY, "keys are scoped to one training"
    assert (found["create services"], found["create networkpolicies"]) == (1, 1), "one of each serves all"
    assert found["create events"] == 0, "conditions say that it has begun"
    assert found[STATUS_WRITES] == MANY, "the attempt is fixed once, and nothing else has happened yet"


async def test_the_words_about_pods_that_wait_are_not_written_with_every_pod(
    server: Server, client: Client, namespace: str, settings: Settings, agent: Agent
) -> None:
    async with operator(server, namespace, settings, agent):
        await client.post(training(namespace))
        job = await job_of(client, namespace, 1)
        await until(lambda: client.get("Pod", namespace, names.store_name(NAME, 1, 1)), "the rendezvous")
        pods = [await start_pod(client, namespace, job, index) for index in range(2)]
        await reaches(client, namespace, "Training")
        before = writes(server, namespace)[STATUS_WRITES]
        for index, pod in enumerate(pods):
            # As if it had to be placed again: what is said of it changes while nothing else does.
            pods[index] = await tell(client, pod, "0/1 nodes are available")
        await until(lambda: _stands_still(client, namespace), "a status that says so")
        for count in range(2, 7):
            at = looks()
            for index, pod in enumerate(pods):
                pods[index] = await tell(client, pod, f"0/{count} nodes are available")
            await looked_again(at)
        # Told at once when it is over.
        for pod in pods:
            running = {"running": {"startedAt": "2026-03-01T12:00:00Z"}}
            await set_pod(client, pod, "Running", running)
        at = looks()
        await looked_again(at - 1)
    assert writes(server, namespace)[STATUS_WRITES] - before <= 3


async def _stands_still(client: Client, namespace: str) -> bool:
    return condition(await status(client, namespace), "Running").get("status") == "False"
