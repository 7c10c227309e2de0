"""A listening port that closes connections without a request.

aiohttp limits the time between two requests of a connection, not the time until the first one.
"""

from __future__ import annotations

import asyncio
import socket
from weakref import WeakSet

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

_asked: WeakSet[object] = WeakSet()
"""Connections on which a complete request header has arrived."""


class TimeoutSite(web.BaseSite):
    """Like SockSite; a connection without a request after `patience` seconds is closed."""

    def __init__(self, runner: web.AppRunner, listener: socket.socket, patience: float) -> None:
        super().__init__(runner)
        self._listener = listener
        self._patience = patience

    @property
    def name(self) -> str:
        """Name in logs."""
        return f"http://{self._listener.getsockname()}"

    async def start(self) -> None:
        """Listen."""
        await super().start()
        loop = asyncio.get_running_loop()
        serve = self._runner.server
        assert serve is not None, "the runner was set up"

        def connected() -> RequestHandler:
            handler = serve()
            loop.call_later(self._patience, _close_unless_asked, handler)
            return handler

        self._server = await loop.create_server(connected, sock=self._listener, backlog=128)


def has_asked(request: web.Request) -> None:
    """A request has arrived on this connection."""
    if request.transport is not None:
        _asked.add(request.transport)


def _close_unless_asked(handler: RequestHandler) -> None:
    if handler.transport is not None and handler.transport not in _asked:
        handler.transport.abort()
