"""The last known address of each host, used while DNS does not respond.

A DNS server on a lost node gets its share of all queries until Kubernetes notices the loss. A store's Service keeps
its address, so the last one is still good.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Final

DNS_PAUSE_SECONDS: Final = 30.0
"""After a DNS query without a response, known addresses are used at once for this long: each query takes seconds."""
MAX_HOSTS: Final = 64


class LastAddresses:
    """The last address of each host that this process, or one that shares its file, has connected to."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._file: Path | None = None
        self._silent_until = float("-inf")

    def share(self, file: Path) -> None:
        """Load the addresses in `file`, and save new ones there from now on."""
        self._file = file
        with contextlib.suppress(OSError, ValueError, TypeError):
            found = json.loads(file.read_text())
            self._known = {str(host): str(address) for host, address in dict(found).items()} | self._known

    def reached(self, host: str, address: str) -> None:
        """Remember the address at which `host` was reached."""
        if self._known.get(host) == address:
            return
        self._known.pop(host, None)
        self._known[host] = address
        while len(self._known) > MAX_HOSTS:
            del self._known[next(iter(self._known))]
        if self._file is not None:
            draft = self._file.with_name(f".{self._file.name}.{os.getpid()}")
            with contextlib.suppress(OSError):
                draft.write_text(json.dumps(self._known))
                draft.replace(self._file)

    def instead(self, host: str) -> str | None:
        """The address to use while DNS is known not to respond; None: query DNS."""
        return self._known.get(host) if time.monotonic() < self._silent_until else None

    def unresolved(self, host: str) -> str | None:
        """Note that DNS did not respond for `host`; the last known address, if there is one."""
        self._silent_until = time.monotonic() + DNS_PAUSE_SECONDS
        return self._known.get(host)


LAST: Final = LastAddresses()
"""Of this process."""
