"""What the trainings of a namespace share, on a real API server: made once, gone with the last of them, kept for those
that come meanwhile, and an older version's objects beside it. The test does what the garbage collector would do.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from integration.one_training import (
    NAME,
    Agent,
    edit,
    job_of,
    operator,
    operator_settings,
    start_pod,
    training,
)
from integration.server import Server, until
from kinema_api import names
from kinema_operator.core.plan import Ref
from kinema_operator.core.resources import ref_to
from kinema_operator.core.settings import Settings
from kinema_operator.shell.client import Client

pytestmark = pytest.mark.apiserver

SHARED = ("Service", "NetworkPolicy")


@pytest.fixture
def settings(minio_endpoint: str, tmp_path: Path) -> Settings:
    return operator_settings(minio_endpoint, tmp_path, progress_interval_seconds=0.3)


def called(namespace: str, name: str) -> dict[str, Any]:
    made = training(namespace)
    made["metadata"]["name"] = name
    return made


async def listed(client: Client, kind: str, namespace: str) -> list[dict[str, Any]]:
    objects, _ = await client.list_all(kind, namespace)
    return [{"kind": kind, **obj} for obj in objects]


async def shared(client: Client, namespace: str) -> dict[str, list[str]]:
    """Names of the Services and NetworkPolicies of a namespace."""
    found = {kind: await listed(client, kind, namespace) for kind in SHARED}
    return {kind: sorted(obj["metadata"]["name"] for obj in objects) for kind, objects in found.items()}


async def one_of_each(client: Client, namespace: str) -> bool:
    return {kind: len(there) for kind, there in (await shared(client, namespace)).items()} == dict.fromkeys(SHARED, 1)


async def none_left(client: Client, namespace: str) -> bool:
    return not any((await shared(client, namespace)).values())


async def end(client: Client, namespace: str, name: str) -> None:
    """Delete a training, and what it owns as the garbage collector would."""
    found = await client.get("VideoModelTraining", namespace, name)
    assert found is not None
    await client.delete(ref_to(found))
    for kind in ("Job", "Pod"):
        for obj in await listed(client, kind, namespace):
            if (obj["metadata"].get("labels") or {}).get(names.LABEL_TRAINING) == name:
                await client.delete(ref_to(obj), grace_seconds=0)


async def test_trainings_of_a_namespace_share_what_is_the_same_for_all_and_leave_nothing(
    server: Server, client: Client, namespace: str, settings: Settings, agent: Agent
) -> None:
    trainings = ("one", "two", "three")
    async with operator(server, namespace, settings, agent):
        for name in trainings:
            await client.post(called(namespace, name))

        async def all_made() -> bool:
            return len(await listed(client, "Job", namespace)) == len(trainings)

        await until(all_made, "a Job of each training")
        await until(lambda: one_of_each(client, namespace), "one Service and one NetworkPolicy for all")
        writes = Counter(w.split("/")[0] for w in server.writes(namespace) if w.endswith(" 201"))
        assert (writes["create services"], writes["create networkpolicies"]) == (1, 1)
        for name in trainings[:2]:
            await end(client, namespace, name)
        await client.post(called(namespace, "four"))

        async def fourth() -> Any:
            return await client.get("Job", namespace, names.job_name("four", 1, 1))

        await until(fourth, "the Job of one that came later")
        assert await one_of_each(client, namespace), "the third still needs them"
        for name in ("three", "four"):
            await end(client, namespace, name)
        await until(lambda: none_left(client, namespace), "nothing is left of what they shared")


async def test_what_was_shared_goes_when_the_last_training_went_while_nobody_led(
    server: Server, client: Client, namespace: str, settings: Settings, agent: Agent
) -> None:
    async with operator(server, namespace, settings, agent):
        await client.post(training(namespace))
        await job_of(client, namespace, 1)
        await until(lambda: one_of_each(client, namespace), "Service and NetworkPolicy")
    await end(client, namespace, NAME)
    async with operator(server, namespace, settings, agent):
        await until(lambda: none_left(client, namespace), "nothing is left of what trainings shared")


async def test_a_training_that_comes_as_the_last_one_goes_has_what_it_needs(
    server: Server, client: Client, namespace: str, settings: Settings, agent: Agent
) -> None:
    async with operator(server, namespace, settings, agent):
        for number in range(5):
            name = f"t{number}"
            await client.post(called(namespace, name))

            async def job(name: str = name) -> Any:
                return await client.get("Job", namespace, names.job_name(name, 1, 1))

            trainers = await until(job, f"the Job of {name}")
            await start_pod(client, namespace, trainers, 0)
            await until(lambda: one_of_each(client, namespace), f"Service and NetworkPolicy for {name}")
            if number < 4:
                await asyncio.gather(end(client, namespace, name), asyncio.sleep(0))


async def test_an_attempt_that_an_older_version_began_keeps_its_service_until_it_is_over(
    server: Server, client: Client, namespace: str, settings: Settings, agent: Agent
) -> None:
    async with operator(server, namespace, settings, agent):
        await client.post(training(namespace))
        job = await job_of(client, namespace, 1)
    owner = job["metadata"]["ownerReferences"]
    old = f"{NAME}-pods"
    template = job["spec"]["template"]
    template["spec"]["subdomain"] = old
    template["metadata"]["labels"] = job["metadata"]["labels"]
    await client.delete(ref_to(job))
    for pod in await listed(client, "Pod", namespace):
        await client.delete(ref_to(pod), grace_seconds=0)
    for kind in SHARED:
        for obj in await listed(client, kind, namespace):
            await client.delete(ref_to(obj))
    await client.post(_older(job, {key: job["spec"][key] for key in _KEPT} | {"template": template}))
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_TRAINING: NAME}
    metadata = {"name": old, "namespace": namespace, "labels": labels, "ownerReferences": owner}
    ports = [{"name": "rendezvous", "port": names.RENDEZVOUS_PORT}]
    spec = {"clusterIP": "None", "selector": {names.LABEL_TRAINING: NAME}, "ports": ports}
    await client.post({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})

    async with operator(server, namespace, settings, agent):

        async def store() -> Any:
            return await client.get("Pod", namespace, names.store_name(NAME, 1, 1))

        made = await until(store, "the rendezvous of the old attempt")
        assert made["spec"]["subdomain"] == old
        assert await client.get("Service", namespace, old) is not None
        await edit(client, namespace, suspend=True)
        await client.delete(Ref("v1", "Pod", namespace, made["metadata"]["name"]), grace_seconds=0)

        async def old_gone() -> bool:
            return await client.get("Service", namespace, old) is None

        await until(old_gone, "the old Service gone after its attempt")
        await edit(client, namespace, suspend=False)
        await job_of(client, namespace, 2)
        second: dict[str, Any] = await until(
            lambda: client.get("Pod", namespace, names.store_name(NAME, 1, 2)), "the next attempt's rendezvous"
        )
        assert second["spec"]["subdomain"] == names.RENDEZVOUS_SERVICE
        assert await client.get("Service", namespace, old) is None


_KEPT = ("completionMode", "parallelism", "completions", "backoffLimitPerIndex", "podReplacementPolicy")


def _older(job: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """The Job as an older version had made it."""
    kept = {key: job["metadata"][key] for key in ("name", "namespace", "labels", "ownerReferences")}
    labels = {key: value for key, value in kept["labels"].items() if "batch.kubernetes.io" not in key}
    spec["template"]["metadata"]["labels"] = {
        key: value for key, value in labels.items() if key not in ("controller-uid", "job-name")
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": kept | {"labels": labels}, "spec": spec}
