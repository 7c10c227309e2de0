"""What the kubelet is told: it restarts a process that is stuck, never one that merely hears nothing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import aiohttp

from cluster.ports import free_port
from kinema_operator.shell.health import Probes


async def answers(age: float, *, listed: bool) -> dict[str, int]:
    synced = asyncio.Event()
    if listed:
        synced.set()
    informer: Any = SimpleNamespace(kind="Pod", age=age, synced=synced)
    probes, port = Probes([informer], 120.0), free_port()
    await probes.start(port, free_port())
    found = {}
    try:
        for path in ("/healthz", "/readyz"):
            async with aiohttp.request("GET", f"http://127.0.0.1:{port}{path}") as answer:
                found[path] = answer.status
    finally:
        await probes.stop()
    return found


async def test_an_api_server_that_is_away_restarts_nobody_and_makes_nobody_ready() -> None:
    assert await answers(600.0, listed=True) == {"/healthz": 200, "/readyz": 503}


async def test_a_process_that_sees_the_cluster_is_ready() -> None:
    assert await answers(1.0, listed=True) == {"/healthz": 200, "/readyz": 200}


async def test_a_process_that_has_listed_nothing_yet_is_not_ready() -> None:
    assert await answers(1.0, listed=False) == {"/healthz": 200, "/readyz": 503}
