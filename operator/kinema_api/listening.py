"""A socket that listens on IPv4 and IPv6 at once: the kubelet probes a pod at whichever address the cluster gave it."""

from __future__ import annotations

import errno
import socket
from typing import Final

BACKLOG: Final = 128


def listen(port: int, host: str | None = None) -> socket.socket:
    """Listen on `port` (0: any free one) of `host`, or of every address; on IPv4 alone where there is no IPv6.

    Raises:
        OSError: the port is taken, or `host` is no address of this machine.
    """
    if host is not None:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    try:
        return socket.create_server(("::", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    except (OSError, ValueError) as error:
        # The kernel may lack the family, refuse to share a socket, or have it switched off for this pod.
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise
    return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)  # noqa: S104 - a NetworkPolicy says who may connect
