"""Shared memory by which an agent controls its workers: until when they may run, and whether to stop.

The worker checks them before every step and its watchdog thread checks them all the time. A worker whose agent is
frozen, dead or cut off therefore stops by itself, even while it is stuck in a collective.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path
from typing import Final

_FIELDS: Final = struct.Struct("dd")
_DEADLINE: Final = struct.Struct("d")
_STOP_OFFSET: Final = _DEADLINE.size


class Lease:
    """Two doubles in a file that agent and workers map; writing an aligned double is atomic."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        if create:
            path.write_bytes(_FIELDS.pack(0.0, 0.0))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _FIELDS.size)

    def grant(self, deadline: float) -> None:
        """Let workers run until then, on this machine's monotonic clock; 0 ends the lease."""
        _DEADLINE.pack_into(self._memory, 0, deadline)

    def held(self) -> bool:
        """Whether workers may run now."""
        return time.monotonic() < float(_DEADLINE.unpack_from(self._memory, 0)[0])

    def ask_to_stop(self, wanted: bool) -> None:
        """Ask the workers to end their round at the next step boundary, with a checkpoint."""
        _DEADLINE.pack_into(self._memory, _STOP_OFFSET, float(wanted))

    def stop_asked(self) -> bool:
        """Whether the agent has asked for the end of the round."""
        return bool(_DEADLINE.unpack_from(self._memory, _STOP_OFFSET)[0])
