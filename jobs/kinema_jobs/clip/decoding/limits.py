"""What the reading process may use. Set by the process itself before it imports a decoder."""

from __future__ import annotations

import resource
from typing import Final

MEMORY_BYTES: Final = 1536 << 20
"""Address space. Python, FFmpeg and numpy take 0.2 GiB of it; a 4K decoder with all its reference frames 0.4 GiB."""
CPU_SECONDS: Final = 120
WALL_SECONDS: Final = 180
"""Kept by the process that waits for the frames, which kills the one that reads."""
OPEN_FILES: Final = 64
MAX_FRAMES: Final = 20_000
"""Frames that are decoded of one input, and moments that it is looked at."""


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
