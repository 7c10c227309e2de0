"""Resource limits of the decoding process, which sets them itself before it imports a decoder."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Final

MEMORY_BYTES: Final = 1536 << 20
"""Address space. Python, FFmpeg and numpy take 0.2 GiB of it; a 4K decoder with all its reference frames 0.4 GiB."""
OPEN_FILES: Final = 64
_GRACE_SECONDS: Final = 5
"""Between the signal of a process that is out of time and its end, so that it is told from one killed for memory."""


@dataclass(frozen=True)
class Limits:
    """How long a decoding process may work."""

    cpu_seconds: int
    wall_seconds: float
    """Enforced by the process that reads the frames: it kills the decoding process."""
    frames: int
    """Decoded frames of one request, and the times at which it is sampled."""


REQUEST: Final = Limits(cpu_seconds=120, wall_seconds=180, frames=20_000)
"""For an input of a request, for which a client waits."""
WINDOW: Final = Limits(cpu_seconds=1200, wall_seconds=4 * 3600, frames=100_000)
"""For a window of a recorded video: whoever reads it scores its frames meanwhile."""


def confine(cpu_seconds: int) -> None:
    """Bound this process for good: no limit can be raised again."""
    for what, most, grace in (
        (resource.RLIMIT_AS, MEMORY_BYTES, 0),
        (resource.RLIMIT_CPU, cpu_seconds, _GRACE_SECONDS),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES, 0),
    ):
        _, hard = resource.getrlimit(what)
        bound = most + grace if hard == resource.RLIM_INFINITY else min(most + grace, hard)
        resource.setrlimit(what, (min(most, bound), bound))
