"""Talking to servers that are slow, gone, or hostile: every way of it is an answer, none an exception."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from kinema_api.wire import OrderedModel, OrderState, WorkOrder
from kinema_operator.generation.observed import NoResponse, OrderRefusal, Unknown
from kinema_operator.generation.server_client import MAX_ANSWER_BYTES, ServerClient

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[ServerClient]]
LOOPBACK = "127.0.0.1"

ORDER = WorkOrder(
    uid="u",
    attempt=1,
    namespace="studio",
    name="clip",
    model=OrderedModel(digest="sha256:" + "a" * 64, manifest_url="http://store/secret", files=()),
    prompt="a red square",
    seconds=1,
    seed=1,
    steps=2,
    guidance_scale=1,
    uploads=(),
)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """A server on loopback that answers everything with one handler, and a client to it."""
    open_things: list[web.AppRunner | ServerClient] = []

    async def start(handler: Handler) -> ServerClient:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, LOOPBACK, 0)
        await site.start()
        client = ServerClient(0.3, runner.addresses[0][1])
        open_things.extend((client, runner))
        return client

    yield start
    for thing in open_things:
        await (thing.close() if isinstance(thing, ServerClient) else thing.cleanup())


def answer(status: int, body: object) -> Handler:
    async def handler(_request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    return handler


@pytest.mark.parametrize(
    ("status", "kind"), [(202, None), (200, None), (429, "busy"), (409, "outdated"), (400, "never"), (503, None)]
)
async def test_answers_to_an_order(serve: Serve, status: int, kind: str | None) -> None:
    client = await serve(answer(status, {"error": "a sentence; do this"}))
    refusal = await client.send(LOOPBACK, ORDER)
    assert refusal == (OrderRefusal(kind, "a sentence; do this") if kind else None)  # type: ignore[arg-type]


async def test_the_state_of_an_order(serve: Serve) -> None:
    state = OrderState(uid="u", attempt=1, phase="denoising", step=1, total_steps=2)
    client = await serve(answer(200, state.to_wire()))
    assert await client.order(LOOPBACK, "u") == state
    assert await (await serve(answer(404, {"error": "no such order"}))).order(LOOPBACK, "u") == Unknown()


@pytest.mark.parametrize("body", ["not a state", {"uid": 1}, []])
async def test_nonsense_is_silence(serve: Serve, body: object) -> None:
    client = await serve(answer(200, body))
    assert isinstance(await client.order(LOOPBACK, "u"), NoResponse)


async def test_an_answer_without_end_is_silence(serve: Serve) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(64):
            await response.write(b"x" * MAX_ANSWER_BYTES)
        return response

    client = await serve(handler)
    assert isinstance(await client.order(LOOPBACK, "u"), NoResponse)


async def test_a_redirect_is_not_followed(serve: Serve) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        raise web.HTTPFound("/elsewhere")

    client = await serve(handler)
    assert isinstance(await client.order(LOOPBACK, "u"), NoResponse)
    assert asked == ["/v1/orders/u"]


async def test_nobody_there_is_silence() -> None:
    client = ServerClient(0.3, 1)
    assert isinstance(await client.order(LOOPBACK, "u"), NoResponse)
    assert await client.send(LOOPBACK, ORDER) is None
    await client.cancel(LOOPBACK, "u")
    await client.close()
