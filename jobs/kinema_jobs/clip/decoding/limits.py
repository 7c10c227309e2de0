"""Resource limits of the decoding process, which sets them itself before it imports a decoder."""

from __future__ import annotations

import resource
from typing import Final

MEMORY_BYTES: Final = 1536 << 20
"""Address space. Python, FFmpeg and numpy take 0.2 GiB of it; a 4K decoder with all its reference frames 0.4 GiB."""
CPU_SECONDS: Final = 120
WALL_SECONDS: Final = 180
"""Enforced by the process that reads the frames: it kills the decoding process."""
OPEN_FILES: Final = 64
MAX_FRAMES: Final = 20_000
"""Limit of decoded frames of one input, and of the times at which it is sampled."""


def confine() -> None:
    """Bound this process for good: no limit can be raised again."""
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        _, hard = resource.getrlimit(what)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (bound, bound))
