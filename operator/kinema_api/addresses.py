"""Where hosts were last reached: a store is still there while DNS is silent.

With a lost node goes its name server, which gets its share of all questions until Kubernetes misses the node. What was
resolved before is good meanwhile: a store's Service keeps its address.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Final

DNS_PAUSE_SECONDS: Final = 30.0
"""For so long after a question that DNS did not answer, known addresses are used at once: waiting takes seconds."""
MAX_HOSTS: Final = 64


class LastAddresses:
    """The last address of each host that was reached, of this process, and of those that share its file."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._file: Path | None = None
        self._silent_until = float("-inf")

    def share(self, file: Path) -> None:
        """Take in what processes before this one have left in `file`, and leave there what is found from now on."""
        self._file = file
        with contextlib.suppress(OSError, ValueError, TypeError):
            found = json.loads(file.read_text())
            self._known = {str(host): str(address) for host, address in dict(found).items()} | self._known

    def reached(self, host: str, address: str) -> None:
        """Remember where `host` answered."""
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
        """The address to use without a question to DNS, which is known to be silent; None: ask."""
        return self._known.get(host) if time.monotonic() < self._silent_until else None

    def unresolved(self, host: str) -> str | None:
        """DNS did not answer for `host`: the address to use for it, if one is known."""
        self._silent_until = time.monotonic() + DNS_PAUSE_SECONDS
        return self._known.get(host)


LAST: Final = LastAddresses()
"""Of this process."""
