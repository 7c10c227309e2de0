"""What pods answer is taken as it comes: a few kilobytes never become gigabytes, and pieces become one answer."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from kinema_api.wire import OrderState, TrainerProgress
from kinema_operator.core.plan import Key
from kinema_operator.core.settings import Settings
from kinema_operator.generation.server_client import ServerClient
from kinema_operator.training.trainers import Trainers

LOOPBACK = "127.0.0.1"
UNPACKED = 512 << 20
MOST = 8 << 20
"""Bytes of memory that any answer of a pod may cost."""
KEY = Key("VideoModelTraining", "team", "tiny")
PODS = [{"metadata": {"name": "p0"}, "status": {"podIP": LOOPBACK}}]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[int]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """A pod on loopback that answers everything with one handler; its port."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> int:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, 0).start()
        runners.append(runner)
        return int(runner.addresses[0][1])

    yield start
    for runner in runners:
        await runner.cleanup()


def bomb() -> bytes:
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(1 << 20)
    return b"".join(packing.compress(piece) for _ in range(UNPACKED >> 20)) + packing.flush()


async def test_an_answer_that_unpacks_to_far_more_costs_the_operator_nothing(serve: Serve) -> None:
    body = bomb()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    port = await serve(answer)
    client, trainers = ServerClient(30.0, port), Trainers(Settings(pod_timeout_seconds=30), port)
    tracemalloc.start()
    try:
        assert not isinstance(await client.order(LOOPBACK, "u"), OrderState)
        assert await client.server(LOOPBACK) is None
        assert await trainers.progress(KEY, 1, 1, PODS) is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        await client.close()
    assert peak < MOST, f"{peak >> 20} MiB for {len(body) >> 10} KiB"


async def test_a_trainer_that_answers_in_pieces_is_heard(serve: Serve) -> None:
    said = TrainerProgress(run=1, attempt=1, round=1, rank=0, world_size=1, step=7)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for byte in said.model_dump_json(by_alias=True).encode():
            await response.write(bytes([byte]))
        return response

    trainers = Trainers(Settings(pod_timeout_seconds=30), await serve(answer))
    assert await trainers.progress(KEY, 1, 1, PODS) == said
