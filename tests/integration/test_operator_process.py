"""Replicas of the operator as real processes against a real API server."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from integration.attempts_operator import KIND, LOST, training
from integration.operators import Replica, replica
from integration.server import Server, until
from kinema_api import names
from kinema_operator.core.resources import ref_to
from kinema_operator.shell.client import Client

pytestmark = pytest.mark.apiserver

FAILOVER_SECONDS = 20.0


async def settled(client: Client, namespace: str, count: int, attempt: int = 1) -> bool:
    """Whether `count` trainings have said all they have to say about this attempt."""
    trainings, _ = await client.list_all(KIND, namespace)
    statuses = [obj.get("status") or {} for obj in trainings]
    jobs, _ = await client.list_all("Job", namespace)
    current = [job for job in jobs if job["metadata"]["labels"][names.LABEL_ATTEMPT] == str(attempt)]
    done = [s for s in statuses if s.get("attempt") == attempt and s.get("conditions")]
    return len(done) == len(trainings) == len(current) == len(jobs) == count


async def lose(client: Client, namespace: str, name: str, attempt: int) -> None:
    """Mark the Job of an attempt as failed."""
    job = await client.get("Job", namespace, names.job_name(name, 1, attempt))
    assert job is not None
    body = {"metadata": {"labels": {LOST: "true"}}}
    await client.patch(ref_to(job), body, job["metadata"]["resourceVersion"], manager="test")


def creations(server: Server, namespace: str) -> Counter[str]:
    """What the operator has created, and how often."""
    made = Counter(w.removesuffix(" 201") for w in server.writes(namespace) if w.endswith(" 201"))
    return Counter({what: n for what, n in made.items() if not what.startswith("create events")})


async def test_a_restart_writes_nothing(server: Server, client: Client, namespace: str, tmp_path: Path) -> None:
    with replica(server.kubeconfig, namespace, tmp_path / "first.log") as first:
        for index in range(5):
            await client.post(training(namespace, f"t{index}"))
        await until(lambda: settled(client, namespace, 5), "five trainings with their objects")
        assert first.end() == 0
    before = server.writes(namespace)
    with replica(server.kubeconfig, namespace, tmp_path / "second.log") as second:
        await until(lambda: reconciled(second, 5), "all trainings looked at again")
        assert second.end() == 0
    assert server.writes(namespace) == before


async def reconciled(running: Replica, count: int) -> bool:
    metrics = await running.metrics()
    done = metrics.get(f'kinema_operator_reconciles_total{{kind="{KIND}",result="ok"}}', 0)
    return done >= count and metrics["kinema_operator_queue_depth"] == 0


async def test_what_is_deleted_comes_back_and_what_is_changed_is_changed_back(
    server: Server, client: Client, namespace: str, tmp_path: Path
) -> None:
    with replica(server.kubeconfig, namespace, tmp_path / "only.log"):
        await client.post(training(namespace, "one"))
        await until(lambda: settled(client, namespace, 1), "the training's objects")
        service = await client.get("Service", namespace, names.pods_service_name("one"))
        assert service is not None
        await client.delete(ref_to(service))

        async def service_now() -> Any:
            return await client.get("Service", namespace, names.pods_service_name("one"))

        again = await until(service_now, "the Service again")
        body = {"spec": {"selector": {names.LABEL_TRAINING: "another"}}}
        await client.patch(ref_to(again), body, again["metadata"]["resourceVersion"], manager="somebody")

        async def selects_ours() -> bool:
            return (await service_now())["spec"]["selector"] == {names.LABEL_TRAINING: "one"}

        await until(selects_ours, "our selector again")


async def test_a_killed_leader_is_replaced_and_nothing_is_doubled(
    server: Server, client: Client, namespace: str, tmp_path: Path
) -> None:
    logs = [tmp_path / "left.log", tmp_path / "right.log"]
    with replica(server.kubeconfig, namespace, logs[0]) as left:
        await until(left.leads, "a leader")
        with replica(server.kubeconfig, namespace, logs[1]) as right:

            async def ready() -> bool:
                return await right.probe("/readyz") == 200

            await until(ready, "a ready standby")
            assert not await right.leads()
            for index in range(20):
                await client.post(training(namespace, f"t{index:02d}"))
            killed = time.monotonic()
            left.end(signal.SIGKILL)
            await until(right.leads, "the standby leads", FAILOVER_SECONDS)
            print(f"failover took {time.monotonic() - killed:.1f} s")
            await until(lambda: settled(client, namespace, 20), "all trainings with their objects")
            await lose(client, namespace, "t03", 1)

            async def second_attempt() -> bool:
                obj = await client.get(KIND, namespace, "t03")
                gone = await client.get("Job", namespace, names.job_name("t03", 1, 1))
                made = await client.get("Job", namespace, names.job_name("t03", 1, 2))
                return obj is not None and obj["status"]["attempt"] == 2 and gone is None and made is not None

            await until(second_attempt, "the second attempt")
            assert right.end() == 0
    made = creations(server, namespace)
    assert set(made.values()) == {1}
    assert sum(what.startswith("create jobs") for what in made) == 21


async def test_sigterm_hands_leadership_over_at_once(
    server: Server, client: Client, namespace: str, tmp_path: Path
) -> None:
    # The Lease would last for minutes: only its release can make the standby lead in time.
    long = {"lease_duration_seconds": 600}
    with replica(server.kubeconfig, namespace, tmp_path / "left.log", **long) as left:
        await until(left.leads, "a leader")
        with replica(server.kubeconfig, namespace, tmp_path / "right.log", **long) as right:

            async def ready() -> bool:
                return await right.probe("/readyz") == 200

            await until(ready, "a ready standby")
            assert left.end() == 0
            await until(right.leads, "the standby leads", FAILOVER_SECONDS)
            await client.post(training(namespace, "one"))
            await until(lambda: settled(client, namespace, 1), "the new leader works")


async def test_a_leader_whose_lease_was_taken_ends_without_writing(
    server: Server, client: Client, namespace: str, tmp_path: Path
) -> None:
    with replica(server.kubeconfig, namespace, tmp_path / "only.log") as only:
        await until(only.leads, "a leader")
        lease = await client.get("Lease", namespace, "kinema-operator")
        assert lease is not None
        body = {"spec": {"holderIdentity": "somebody-else"}}
        await client.patch(ref_to(lease), body, lease["metadata"]["resourceVersion"], manager="test")
        only.process.wait(30)
        assert only.process.returncode == 1
        after = await client.get("Lease", namespace, "kinema-operator")
        assert after is not None
        assert after["spec"]["holderIdentity"] == "somebody-else", "it is not given away by who lost it"
