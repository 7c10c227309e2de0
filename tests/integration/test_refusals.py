"""What the API server refuses is told in a condition and an event, and stops nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from integration.attempts_operator import KIND, training
from integration.operators import replica
from integration.server import WAIT_SECONDS, Server, until
from kinema_api import names
from kinema_operator.core.errors import ApiError
from kinema_operator.core.resources import RESOURCES, Resource, ref_to
from kinema_operator.shell.client import Client

pytestmark = pytest.mark.apiserver

SECONDS = WAIT_SECONDS
NAME = "one"


@pytest.fixture(autouse=True)
def kinds_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, plural in (("ResourceQuota", "resourcequotas"), ("LimitRange", "limitranges")):
        monkeypatch.setitem(RESOURCES, kind, Resource("v1", kind, plural))


def limits(namespace: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "little", "namespace": namespace}, "spec": spec}


async def conditions(client: Client, namespace: str) -> dict[str, dict[str, Any]]:
    found = await client.get(KIND, namespace, NAME) or {}
    return {c["type"]: c for c in (found.get("status") or {}).get("conditions") or ()}


async def refused(client: Client, namespace: str) -> dict[str, Any]:
    async def told() -> Any:
        return (await conditions(client, namespace)).get("Refused")

    found: dict[str, Any] = await until(told, "the refusal in a condition", SECONDS)
    return found


async def forbid_jobs(client: Client, namespace: str) -> dict[str, Any]:
    """A quota in force, as its controller would have it."""
    hard = {"count/jobs.batch": "0"}
    quota = await client.post(limits(namespace, "ResourceQuota", {"hard": hard}))
    status = {"hard": hard, "used": {"count/jobs.batch": "0"}}
    return await client.patch_status(ref_to(quota), status, quota["metadata"]["resourceVersion"])


async def test_what_a_quota_refuses_is_told_and_made_once_it_may_be(
    server: Server, client: Client, namespace: str, tmp_path: Path
) -> None:
    quota = await forbid_jobs(client, namespace)
    await asyncio.sleep(1)  # The admission plugin's own watch; nothing tells when it has seen the quota.
    with replica(server.kubeconfig, namespace, tmp_path / "only.log"):
        await client.post(training(namespace, NAME))
        told = await refused(client, namespace)
        assert (told["status"], told["reason"]) == ("True", "QuotaExceeded")
        assert f"Job {names.job_name(NAME, 1, 1)}" in told["message"]
        assert "exceeded quota: little" in told["message"]
        assert "RBAC" not in told["message"]
        there = await conditions(client, namespace)
        assert there["Running"]["status"] == "True"
        assert there["Ready"]["reason"] == "QuotaExceeded"
        assert await client.get("Service", namespace, names.pods_service_name(NAME)) is not None

        async def event() -> Any:
            events, _ = await client.list_all("Event", namespace)
            return [e for e in events if e["reason"] == "QuotaExceeded" and e["type"] == "Warning"]

        assert len(await until(event, "an event about it", SECONDS)) == 1
        await client.delete(ref_to(quota))

        async def made() -> Any:
            return await client.get("Job", namespace, names.job_name(NAME, 1, 1))

        await until(made, "the Job, once the quota is gone", 60.0)

        async def silent() -> bool:
            return "Refused" not in await conditions(client, namespace)

        await until(silent, "nothing is said to be refused any more", SECONDS)


async def test_what_a_limit_range_refuses_is_not_blamed_on_rights(
    server: Server, client: Client, namespace: str, tmp_path: Path
) -> None:
    await client.post(limits(namespace, "LimitRange", {"limits": [{"type": "Container", "min": {"cpu": "2"}}]}))
    await asyncio.sleep(1)
    with replica(server.kubeconfig, namespace, tmp_path / "only.log"):
        await client.post(training(namespace, NAME))
        told = await refused(client, namespace)
        assert told["reason"] == "AdmissionDenied"
        assert "minimum cpu usage per Container is 2" in told["message"]
        assert "RBAC" not in told["message"]


async def test_an_object_of_that_name_that_is_not_ours_is_named(
    server: Server, client: Client, namespace: str, tmp_path: Path
) -> None:
    labels = names.common_labels("theirs", "web")
    name = names.pods_service_name(NAME)
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"ports": [{"port": 80}]},
    }
    await client.post(theirs)
    with replica(server.kubeconfig, namespace, tmp_path / "only.log"):
        await client.post(training(namespace, NAME))
        told = await refused(client, namespace)
        assert told["reason"] == "NameTaken"
        assert f"Service {name}" in told["message"]
        assert (await conditions(client, namespace))["Running"]["status"] == "True"
        assert await client.get("Job", namespace, names.job_name(NAME, 1, 1)) is not None


async def test_a_job_whose_pods_are_refused_says_so(
    server: Server, client: Client, namespace: str, tmp_path: Path
) -> None:
    with replica(server.kubeconfig, namespace, tmp_path / "only.log"):
        await client.post(training(namespace, NAME))

        async def job() -> Any:
            return await client.get("Job", namespace, names.job_name(NAME, 1, 1))

        made = await until(job, "the Job", SECONDS)
        metadata = made["metadata"]
        about = {"apiVersion": "batch/v1", "kind": "Job", "namespace": namespace}
        await client.post(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": "as-the-job-controller", "namespace": namespace},
                "involvedObject": {**about, "name": metadata["name"], "uid": metadata["uid"]},
                "type": "Warning",
                "reason": "FailedCreate",
                "message": "Error creating: pods is forbidden: exceeded quota: little",
                "lastTimestamp": metadata["creationTimestamp"],
            }
        )

        async def told() -> Any:
            return (await conditions(client, namespace)).get("Refused")

        found = await until(told, "the Job controller's event in a condition", 30.0)
        assert (found["reason"], "exceeded quota: little" in found["message"]) == ("PodsRefused", True)


async def test_nothing_is_made_in_a_namespace_that_is_being_deleted(
    server: Server, client: Client, namespace: str, tmp_path: Path
) -> None:
    async def objects(kind: str, count: int) -> Any:
        return len((await client.list_all(kind, namespace))[0]) == count

    trainings = [f"t{index}" for index in range(8)]
    with replica(server.kubeconfig, namespace, tmp_path / "only.log"):
        for name in trainings:
            await client.post(training(namespace, name))
        await until(lambda: objects("Job", len(trainings)), "all Jobs")
        await until(lambda: objects("Pod", len(trainings)), "all Pods")
        await client._call("DELETE", f"/api/v1/namespaces/{namespace}")
        # As the namespace controller does it: pods first.
        for pod in (await client.list_all("Pod", namespace))[0]:
            await client.delete(ref_to({**pod, "kind": "Pod"}), grace_seconds=0)
        await until(lambda: objects("Job", 0), "the Jobs let go, so that their pods may go")
        before = [w for w in server.writes(namespace) if w.startswith("create") and w.endswith(" 403")]
        for service in (await client.list_all("Service", namespace))[0]:
            await client.delete(ref_to({**service, "kind": "Service"}))
        for name in trainings:
            made = await client.get(KIND, namespace, name) or {}
            for label in ("a", "b", "c"):
                body = {"metadata": {"labels": {"touched": label}}}
                made = await client.patch(ref_to(made), body, made["metadata"]["resourceVersion"], manager="test")
        await asyncio.sleep(2)
        after = [w for w in server.writes(namespace) if w.startswith("create") and w.endswith(" 403")]
        assert after[len(before) :] == []


async def test_the_api_servers_refusals_are_told_apart(client: Client, namespace: str) -> None:
    """A quota, a limit and a missing right have one status, 403; only the last is a matter of RBAC."""
    await forbid_jobs(client, namespace)
    await client.post(limits(namespace, "LimitRange", {"limits": [{"type": "Container", "min": {"cpu": "2"}}]}))
    await asyncio.sleep(1)
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}
    pod = {"restartPolicy": "Never", "containers": [container]}
    metadata = {"name": "x", "namespace": namespace}
    for body in (
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": pod}}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod},
    ):
        with pytest.raises(ApiError) as refusal:
            await client.post(body)
        assert refusal.value.status == 403
        assert "RBAC" not in str(refusal.value)
