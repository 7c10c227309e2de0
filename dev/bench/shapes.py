"""The mix of clip shapes that benchmarks of a step pack, and where a token of it lies in the world's pixels."""

from __future__ import annotations

from typing import Final

from kinema_world import ShapeMix

# Pixels of a clip that make a token: frames, rows, columns.
WORLD_PATCH: Final = (1, 8, 8)
_FULL: Final = 2**15


def mix(tokens: int) -> ShapeMix:
    """The mix that models are trained on, where a step of so many tokens holds it; else one of smaller clips."""
    return ShapeMix() if tokens >= _FULL else ShapeMix(frames=(1, 8, 16), sides=(32, 64))
