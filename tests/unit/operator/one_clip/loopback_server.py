"""A server on loopback that answers orders as a real one does, and fails as the test tells it to."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from aiohttp import web

from kinema_api.wire import OrderResult, OrderState, ServerState, UploadedFile, WorkOrder


def artefact(order: WorkOrder, name: str, late: bool = False) -> bytes:
    """What a server renders: tells the attempt, and whether it was written after the server should have been dead."""
    return json.dumps([order.uid, order.attempt, name, order.seed, late]).encode()


@dataclass
class LoopbackServer:
    """A server by the wire contract: one denoising step per question, artefacts into the folder store."""

    address: str
    port: int
    total_steps: int = 2
    orders: dict[str, OrderState] = field(default_factory=dict)
    given: list[WorkOrder] = field(default_factory=list)
    alive: asyncio.Event = field(default_factory=asyncio.Event)
    on_order: Callable[[LoopbackServer, WorkOrder], None] | None = None
    fails_with: tuple[str, bool] | None = None
    dies: bool = False
    """Its pod is removed in the next round."""
    lies: Callable[[dict[str, Any]], str] | None = None
    """Makes the body of its answer about an order that has succeeded."""
    stuck: bool = False
    """It makes no step any more and says so."""
    deaf: bool = False
    """It does not stop when it is told to."""
    older: bool = False
    """It is of a version that does not understand the orders of this operator."""
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        self.alive.set()
        app = web.Application(middlewares=[self._frozen])
        app.router.add_post("/v1/orders", self._submit)
        app.router.add_get("/v1/orders/{uid}", self._state)
        app.router.add_delete("/v1/orders/{uid}", self._cancel)
        app.router.add_get("/v1/server", self._server)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, self.port).start()

    async def stop(self) -> None:
        self.alive.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def in_hand(self) -> str | None:
        return next((uid for uid, s in self.orders.items() if s.phase in ("loading", "denoising")), None)

    def wake_late(self) -> None:
        """What a stopped process does when it goes on: it finishes all it had, by the addresses it was given."""
        for order in self.given:
            write_artefacts(order, late=True)
        self.alive.set()

    @web.middleware
    async def _frozen(self, request: web.Request, handler: Any) -> web.StreamResponse:
        await self.alive.wait()
        return await handler(request)

    async def _submit(self, request: web.Request) -> web.Response:
        order = WorkOrder.model_validate_json(await request.read())
        known = self.orders.get(order.uid)
        if known is not None and order.attempt == known.attempt:
            return web.json_response(known.to_wire(), status=202)
        if known is not None and order.attempt < known.attempt:
            return web.json_response({"error": "a later attempt came already"}, status=409)
        if self.in_hand not in (None, order.uid):
            return web.json_response({"error": "busy with another order"}, status=429)
        if self.older:
            return web.json_response({"error": "the order has fields that are not known here"}, status=422)
        if not order.prompt.isprintable():
            return web.json_response({"error": "the prompt cannot be printed; write another"}, status=400)
        self.given.append(order)
        self.orders[order.uid] = OrderState(
            uid=order.uid, attempt=order.attempt, phase="denoising", total_steps=self.total_steps
        )
        if self.on_order is not None:
            self.on_order(self, order)
        return web.json_response(self.orders[order.uid].to_wire(), status=202)

    async def _state(self, request: web.Request) -> web.Response:
        state = self.orders.get(request.match_info["uid"])
        if state is None:
            return web.json_response({"error": "no such order"}, status=404)
        if state.phase == "denoising":
            state = state if self.stuck else self._advance(state)
        if self.lies is not None and state.phase == "succeeded":
            return web.Response(text=self.lies(state.to_wire()), content_type="application/json")
        return web.json_response(state.to_wire())

    def _advance(self, state: OrderState) -> OrderState:
        order = next(o for o in reversed(self.given) if o.uid == state.uid)
        if self.fails_with is not None:
            message, retriable = self.fails_with
            state = state.model_copy(update={"phase": "failed", "error": message, "retriable": retriable})
        elif state.step < self.total_steps:
            state = state.model_copy(update={"step": state.step + 1})
        else:
            state = state.model_copy(update={"phase": "succeeded", "result": write_artefacts(order)})
        self.orders[state.uid] = state
        return state

    async def _cancel(self, request: web.Request) -> web.Response:
        uid = request.match_info["uid"]
        if uid in self.orders and not self.deaf:
            self.orders[uid] = self.orders[uid].model_copy(update={"phase": "cancelled"})
        return web.json_response({}, status=202)

    async def _server(self, _request: web.Request) -> web.Response:
        return web.json_response(ServerState(order=self.in_hand).to_wire())


def write_artefacts(order: WorkOrder, late: bool = False) -> OrderResult:
    files = []
    for upload in order.uploads:
        data = artefact(order, upload.name, late)
        path = Path(url2pathname(urlsplit(upload.url).path))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        files.append(UploadedFile(name=upload.name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)))
    return OrderResult(
        files=tuple(files), seconds=1, size="24x24", fps=8, load_seconds=0, denoise_seconds=1, encode_seconds=0
    )
