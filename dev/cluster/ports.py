"""Ports for servers that tests start, several runs of tests at once included."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

from .errors import ClusterError

# Below the ports of outgoing connections (from 32768 on Linux) and NodePorts (from 30000): such a connection would now
# and then take a port between its being found and its being used.
FIRST, LAST = 12_000, 29_999
TRIES = 1000
_chance = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """TCP ports of 127.0.0.1 that nobody listens on; they differ.

    Raises:
        ClusterError: nearly all are taken.
    """
    found: list[int] = []
    with ExitStack() as held:
        for _ in range(TRIES):
            if len(found) == count:
                return found
            probe = held.enter_context(socket.socket())
            port = _chance.randint(FIRST, LAST)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    raise ClusterError(f"No free port from {FIRST} to {LAST} was found; end what listens there.")


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
