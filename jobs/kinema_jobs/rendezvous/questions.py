"""What a worker asks the rendezvous service about its round, each question over a connection of its own."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from typing import Any

from kinema_jobs.rendezvous.errors import RendezvousRefused, RendezvousUnreachable, StaleRound
from kinema_jobs.rendezvous.settings import MemberSettings


@dataclass(frozen=True)
class Place:
    """A member's place in a round."""

    run_id: str
    number: int
    token: str
    member: str
    rank: int
    """Rank of the node."""
    nodes: int
    base: int
    """Global rank of the node's first worker."""
    world: int
    """Workers of the whole group."""
    store: str
    """host:port of the TCPStore that rank 0's agent hosts."""
    service: str = ""
    """Identifies the rendezvous service that gave this place."""
    generation: int = 0
    """Of that service: see RendezvousSettings."""
    at: str = ""
    """host:port of exactly that service: the rendezvous' DNS name may stand for another one by now."""


def ask(endpoint: str, place: Place, op: str, *, patience: float, **fields: Any) -> dict[str, Any]:
    """Ask one question about the worker's round, again for `patience` seconds while no service answers.

    Raises:
        StaleRound: the round is over.
        RendezvousRefused: the service does not understand or serves another run.
        RendezvousUnreachable: no service answered.
    """
    question = {"op": op, "runId": place.run_id, "number": place.number, "token": place.token, **fields}
    host, _, port = (place.at or endpoint).rpartition(":")
    until = time.monotonic() + patience
    settings = MemberSettings()
    while True:
        try:
            with socket.create_connection((host, int(port)), timeout=settings.connect_seconds) as connection:
                connection.sendall(encode(question))
                with connection.makefile("rb") as lines:
                    answer = decode(lines.readline())
        except OSError as error:
            if time.monotonic() > until:
                raise RendezvousUnreachable(
                    f"the rendezvous at {endpoint} did not respond ({error}): check that the rendezvous pod runs"
                ) from None
            time.sleep(settings.retry_seconds)
            continue
        if answer.get("type") == "stale":
            raise StaleRound(str(answer["error"]))
        if answer.get("type") == "refused":
            raise RendezvousRefused(str(answer["error"]))
        return answer


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    if not line:
        raise ConnectionError("the rendezvous closed the connection")
    answer: dict[str, Any] = json.loads(line)
    return answer
