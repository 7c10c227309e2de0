"""The rendezvous service: the authority behind a TCP port, one JSON object per line.

A member keeps its connection open; a member whose connection ends is lost:

    {"op":"hello","runId":..,"id":..}                -> {"type":"welcome","heartbeat":1.0,"lost":10.0}
    {"op":"ping"}                                    -> {"type":"pong"}
    {"op":"wait","address":..,"slots":1,"seen":3}    -> later {"type":"round",..} or {"type":"finished"}
    {"op":"leaving"}  {"op":"leave"}
    pushed: {"type":"reform","reason":..,"planned":bool}  {"type":"stale","error":..}

A worker asks single questions over connections of their own; each carries runId, number and token of its round:

    {"op":"current","id":..}                         -> {"current":bool}
    {"op":"outdated","floor":..}  {"op":"finish"}    -> {"ok":true}
    {"op":"retire"}                                  -> {"ok":true}; from then on no member is served

What cannot be answered is {"type":"refused"|"stale","error":"<sentence>"}.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import time
from typing import Any, Final

from kinema_api.listening import listen
from kinema_api.training import MAX_NODES
from kinema_jobs.rendezvous.authority import Authority, Message, Outbox
from kinema_jobs.rendezvous.errors import RendezvousError, RendezvousRefused, StaleRound

DEPART_SECONDS = 25.0
"""After SIGTERM, how long the round may take to end: below the grace period of the pod."""
TICK_SECONDS: Final = 0.05
LINE_LIMIT: Final = 64 * 1024
BACKLOG: Final = MAX_NODES
"""Trainers of the largest group may all connect at once."""
MIN_NODES_SECONDS: Final = 1.0
"""How often the minimum number of nodes is read again."""

logger = logging.getLogger(__name__)


class RendezvousServer:
    """Serves one authority until it is closed."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._connections: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._min_nodes_read = float("-inf")

    async def start(self, host: str | None, port: int) -> int:
        """Listen on `host` (None: every address); answers the port."""
        _allow_connections()
        self._server = await asyncio.start_server(
            self._serve, sock=listen(port, host), limit=LINE_LIMIT, backlog=BACKLOG
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def run(self) -> None:
        """Call the authority's `tick` until cancelled."""
        while not self._authority.retired:
            self._follow_min_nodes()
            self._send(self._authority.tick(time.monotonic()))
            await asyncio.sleep(TICK_SECONDS)
        # Members that this address refuses try the next address of the name. The process stays: a new one in its
        # place could claim the attempt again.
        await self.close()
        await asyncio.Event().wait()

    def _follow_min_nodes(self) -> None:
        now = time.monotonic()
        if now - self._min_nodes_read < MIN_NODES_SECONDS:
            return
        self._min_nodes_read = now
        found = self._authority.settings.min_nodes()
        if found is not None and found != self._authority.min_nodes:
            logger.info("groups have at least %d nodes from now on", found)
            self._authority.min_nodes = found

    async def depart(self) -> None:
        """Wait until the round has ended at a step boundary and committed, since its members ask here; then close."""
        self._send(self._authority.depart(time.monotonic()))
        end = time.monotonic() + DEPART_SECONDS
        while self._authority.at_work and time.monotonic() < end:  # noqa: ASYNC110 - `run` lets time pass meanwhile
            await asyncio.sleep(TICK_SECONDS)
        await self.close()

    async def close(self) -> None:
        """Stop listening and close all connections."""
        if self._server:
            self._server.close()
        for writer in [*self._connections]:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        member: str | None = None
        try:
            while line := await reader.readline():
                member = self._handle(json.loads(line), member, writer)
                await writer.drain()
        except (ConnectionError, TimeoutError, ValueError) as error:
            logger.info("connection of %s broke: %s", member or "a worker", type(error).__name__)
        finally:
            self._connections.discard(writer)
            if member and self._writers.get(member) is writer:
                del self._writers[member]
                self._send(self._authority.lost(member, "its connection broke", time.monotonic()))
            with contextlib.suppress(ConnectionError):
                writer.close()

    def _handle(self, message: Message, member: str | None, writer: asyncio.StreamWriter) -> str | None:
        """Answer one line; returns the member that this connection belongs to."""
        try:
            if message["op"] == "hello":
                member = self._hello(message, writer)
            elif message["op"] in ("ping", "wait", "leaving", "leave"):
                member = self._of_member(message, member, writer)
            else:
                _write(writer, self._question(message))
        except StaleRound as error:
            _write(writer, {"type": "stale", "error": str(error)})
        except (RendezvousError, KeyError, TypeError) as error:
            reason = str(error) if isinstance(error, RendezvousError) else f"not understood: {error!r}; see service.py"
            _write(writer, {"type": "refused", "error": reason})
        return member

    def _hello(self, message: Message, writer: asyncio.StreamWriter) -> str:
        id_ = str(message["id"])
        if id_ in self._writers:
            raise RendezvousRefused(f"{id_} is already here: give every connection an id of its own")
        self._authority.hello(id_, str(message["runId"]), time.monotonic())
        self._writers[id_] = writer
        times = self._authority.settings
        _write(writer, {"type": "welcome", "heartbeat": times.heartbeat_seconds, "lost": times.lost_seconds})
        logger.info("%s is here", id_)
        return id_

    def _of_member(self, message: Message, member: str | None, writer: asyncio.StreamWriter) -> str | None:
        now = time.monotonic()
        if member is None or self._writers.get(member) is not writer:
            raise StaleRound("this member was removed: stop its worker and join as a new member")
        self._authority.heard(member, now)
        if message["op"] == "ping":
            _write(writer, {"type": "pong"})
        elif message["op"] == "wait":
            address, slots, seen = str(message["address"]), int(message["slots"]), int(message["seen"])
            self._send(self._authority.wait(member, address, slots, seen, now))
        elif message["op"] == "leaving":
            self._send(self._authority.leaving(member, now))
        else:
            del self._writers[member]
            self._send(self._authority.left(member, now))
            return None
        return member

    def _question(self, message: Message) -> dict[str, Any]:
        authority, number, token = self._authority, int(message["number"]), str(message["token"])
        if message["runId"] != authority.run_id:
            raise RendezvousRefused(
                f"this rendezvous serves {authority.run_id!r}: use the rendezvous of your own attempt"
            )
        if message["op"] == "current":
            return {"current": authority.is_current(number, token, str(message["id"]))}
        if message["op"] == "outdated":
            self._send(authority.outdated(number, token, int(message["floor"]), time.monotonic()))
        elif message["op"] == "finish":
            self._send(authority.finish(number, token))
        elif message["op"] == "retire":
            authority.retire(number, token)
            logger.warning("a newer rendezvous has claimed %s: this one stops serving", authority.run_id)
        else:
            raise RendezvousRefused(f"unknown question {message['op']!r}: see service.py for the operations")
        return {"ok": True}

    def _send(self, out: Outbox) -> None:
        for member, message in out.messages:
            logger.info("%s: %s", member, message)
            if writer := self._writers.get(member):
                _write(writer, message)
        for member in out.dropped:
            if writer := self._writers.pop(member, None):
                _write(writer, {"type": "stale", "error": "removed after missing heartbeats: join as a new member"})
                writer.close()


def _allow_connections() -> None:
    """As many open files as the system lets this process have: a group of the largest size needs more than the usual
    1024, since workers ask over connections of their own."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _write(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    if not writer.is_closing():
        writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
