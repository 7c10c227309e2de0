"""The HTTP API of a server, as kinema_api.wire defines it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from kinema_api import layout
from kinema_api.base import ApiModel
from kinema_api.errors import InvalidManifest
from kinema_api.signature import Claim, NotSigned, Verifier
from kinema_api.wire import OrderState, ServerState, WorkOrder, unknown_fields
from kinema_jobs.clip.model import check_size
from kinema_jobs.serve.listening import has_asked
from kinema_jobs.serve.model_cache import ModelCache
from kinema_jobs.serve.orders import OrderBook, OrderRefused
from kinema_model.conditions.tasks import Task
from kinema_model.errors import ModelError

ARTEFACTS: Final = (layout.VIDEO, layout.THUMBNAIL, layout.SPRITESHEET, layout.REQUEST)
PROBE: Final = "/healthz"
CLAIM: Final = "claim"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(
    book: OrderBook,
    models: ModelCache,
    max_order_bytes: int,
    verifier: Verifier | None = None,
    request_seconds: float = 10.0,
) -> web.Application:
    """The application; `book` and `models` live as long as it does.

    With a `verifier` only the operator may use it, except for the probe. Without one any client may send orders.
    """
    gate = _Gate(verifier, request_seconds)
    app = web.Application(middlewares=[_sentences, gate.pass_operator], client_max_size=max_order_bytes)
    handlers = _Handlers(book, models)
    app.router.add_post("/v1/orders", handlers.submit)
    app.router.add_get("/v1/orders/{uid}", handlers.state)
    app.router.add_delete("/v1/orders/{uid}", handlers.cancel)
    app.router.add_get("/v1/server", handlers.server)
    app.router.add_get(PROBE, handlers.health)
    return app


def make_metrics_app() -> web.Application:
    """The application for /metrics, on a separate port for monitoring."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(middlewares=[_noted])
    app.router.add_get("/metrics", metrics)
    return app


class _Gate:
    """Accepts each request of the operator once; refuses other clients and requests whose body does not arrive."""

    def __init__(self, verifier: Verifier | None, seconds: float) -> None:
        self._verifier = verifier
        self._seconds = seconds

    @web.middleware
    async def pass_operator(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        has_asked(request)
        if request.path == PROBE:
            return await handler(request)
        try:
            if self._verifier is not None:
                self._verifier.check_headers(request.headers)
            async with asyncio.timeout(self._seconds):
                body = await request.read()
            if self._verifier is not None:
                request[CLAIM] = self._verifier.check(request.headers, request.method, request.raw_path, body)
        except NotSigned as error:
            raise OrderRefused(401, f"{error}.") from None
        except TimeoutError:
            raise OrderRefused(408, f"the request did not come within {self._seconds:g} s: send it again.") from None
        return await handler(request)


class _Handlers:
    def __init__(self, book: OrderBook, models: ModelCache) -> None:
        self._book = book
        self._models = models

    async def submit(self, request: web.Request) -> web.Response:
        order = _parse(await request.read())
        claim: Claim | None = request.get(CLAIM)
        if claim is not None and (claim.uid, claim.attempt) != (order.uid, order.attempt):
            raise OrderRefused(401, "the signature is for another generation or attempt.")
        self._check(order)
        return _answer(self._book.submit(order), 202)

    async def state(self, request: web.Request) -> web.Response:
        return _answer(_known(self._book.state(request.match_info["uid"])), 200)

    async def cancel(self, request: web.Request) -> web.Response:
        return _answer(_known(self._book.cancel(request.match_info["uid"])), 202)

    async def server(self, _request: web.Request) -> web.Response:
        current = self._book.current
        loaded = self._models.digest if self._models.loaded is not None else None
        return _answer(ServerState(digest=loaded, order=current.order.uid if current else None), 200)

    async def health(self, _request: web.Request) -> web.Response:
        if self._book.draining:
            return web.json_response({"status": "ending"}, status=503)
        return web.json_response({"status": "ok"})

    def _check(self, order: WorkOrder) -> None:
        """Refuse an order that can never be served, as far as that is known before the model is loaded."""
        if order.model.digest != self._models.digest:
            raise OrderRefused(
                400, f"this server serves {self._models.digest}, not {order.model.digest}: use a server of that digest."
            )
        names = [upload.name for upload in order.uploads]
        if layout.VIDEO not in names or len(set(names)) != len(names) or not set(names) <= set(ARTEFACTS):
            raise OrderRefused(400, f"uploads must name {layout.VIDEO} and may name others of {', '.join(ARTEFACTS)}.")
        try:
            check_size(order)
            if self._models.loaded is not None:
                self._models.loaded.check(order)
                self._models.loaded.output_shape(order, Task(order.task))
        except ModelError as error:
            raise OrderRefused(400, str(error)) from None


def _parse(body: bytes) -> WorkOrder:
    try:
        value = json.loads(body)
        order = WorkOrder.parse(value)
    except (ValueError, RecursionError):
        raise OrderRefused(400, "the body is not JSON: send a work order as JSON.") from None
    except InvalidManifest as error:
        raise OrderRefused(400, str(error)) from None
    unknown = unknown_fields(order, value)
    if unknown:
        # The clip would miss what an unknown field asks for. A server of the operator's own version knows the field.
        raise OrderRefused(422, f"the order has unknown fields ({', '.join(unknown)}): try another server.")
    return order


def _known(state: OrderState | None) -> OrderState:
    if state is None:
        raise OrderRefused(404, "no such order: the server may have restarted, start another attempt.")
    return state


def _answer(model: ApiModel, status: int) -> web.Response:
    return web.json_response(model.to_wire(), status=status)


@web.middleware
async def _noted(request: web.Request, handler: Handler) -> web.StreamResponse:
    has_asked(request)
    return await handler(request)


@web.middleware
async def _sentences(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error is {"error": "<sentence>"}."""
    try:
        return await handler(request)
    except OrderRefused as refusal:
        return web.json_response({"error": str(refusal)}, status=refusal.status)
    except web.HTTPRequestEntityTooLarge:
        return web.json_response({"error": "the order is too large: shorten the prompt."}, status=400)
    except web.HTTPException as error:
        return web.json_response(
            {"error": f"{error.reason}: see kinema_api.wire for the API of a server."}, status=error.status
        )
