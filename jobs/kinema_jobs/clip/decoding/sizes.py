"""The size at which frames leave the decoding process, as both sides compute it."""

from __future__ import annotations

import math


def scaled(height: int, width: int, area: int | None) -> tuple[int, int]:
    """(height, width) of a frame of those sides that is scaled down to about `area` pixels; never enlarged."""
    if area is None or height * width <= area:
        return height, width
    scale = math.sqrt(area / (height * width))
    return max(1, round(height * scale)), max(1, round(width * scale))
