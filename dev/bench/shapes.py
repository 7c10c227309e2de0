"""The mix of clip shapes that benchmarks of a step pack, and where a token of it lies in the world's pixels."""

from __future__ import annotations

from typing import Final

from kinema_model.codec.grid import LatentGrid
from kinema_world import ShapeMix

WORLD_GRID: Final = LatentGrid((1, 8, 8))
_FULL: Final = 2**15


def mix(tokens: int) -> ShapeMix:
    """The mix that models are trained on, where a step of so many tokens holds it; else one of smaller clips."""
    return ShapeMix() if tokens >= _FULL else ShapeMix(frames=(1, 8, 16), sides=(32, 64))
