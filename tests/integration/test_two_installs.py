"""Two installs of the operator that see one namespace: one works, the other stands back and says so."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from integration.attempts_operator import KIND, training
from integration.operators import Replica, replica
from integration.server import Server, until
from kinema_api import names
from kinema_operator.shell.client import Client

pytestmark = pytest.mark.apiserver

CLAIM = {"claim_duration_seconds": 6}


async def made(client: Client, namespace: str, name: str) -> bool:
    obj = await client.get(KIND, namespace, name) or {}
    job = await client.get("Job", namespace, names.job_name(name, 1, 1))
    return job is not None and "Running" in conditions(obj)


def conditions(obj: dict[str, Any]) -> dict[str, Any]:
    return {c["type"]: c for c in (obj.get("status") or {}).get("conditions") or ()}


async def children(running: Replica) -> float:
    """Objects that a replica has made, by its own count."""
    found = await running.metrics()
    return sum(n for key, n in found.items() if key.startswith("kinema_operator_writes_total") and "create" in key)


async def test_the_second_install_stands_back_and_takes_over_when_the_first_has_gone(
    server: Server, client: Client, namespace: str, tmp_path: Path
) -> None:
    with replica(server.kubeconfig, namespace, tmp_path / "first.log", **CLAIM) as first:
        await client.post(training(namespace, "before"))
        await until(lambda: made(client, namespace, "before"), "the first install at work")
        with replica(server.kubeconfig, namespace, tmp_path / "second.log", lease_name="another", **CLAIM) as second:
            await until(second.leads, "the second install leads its own replicas")

            async def told() -> Any:
                return conditions(await client.get(KIND, namespace, "before") or {}).get("Contended")

            contended = await until(told, "the second install says that it stands back", 12.0)
            assert contended["reason"] == "NamespaceClaimed"
            assert f"{namespace}/kinema-operator reconciles this namespace" in contended["message"]

            async def event() -> bool:
                events, _ = await client.list_all("Event", namespace)
                return [e["reason"] for e in events].count("NamespaceClaimed") == 1

            await until(event, "an event about it")
            for index in range(5):
                await client.post(training(namespace, f"t{index}"))
            for index in range(5):
                await until(lambda name=f"t{index}": made(client, namespace, name), "all made by the first")
            assert await children(second) == 0
            assert await children(first) > 0
            first.end(signal.SIGKILL)
            await client.post(training(namespace, "after"))
            await until(lambda: made(client, namespace, "after"), "the second install at work", 60.0)
