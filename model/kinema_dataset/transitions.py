"""Dissolves and fades, which leave a clip that is neither one shot nor the other.

In the middle of both, a frame is the mean of the frames as far before it as after it, though these differ much.
Movement does not do that: what moves is at one end or at the other, and never half at both.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Span: TypeAlias = tuple[int, int]
"""Frames [first, end)."""

REACHES: Final = (4, 7, 11)
"""Frames before and after: for transitions of 8 frames and more, of 14, and of 22."""
DIFFERENT: Final = 14.0
"""Least mean difference of both ends, in levels of 255."""
BENT: Final = 0.2
"""Greatest mean distance of the middle from the mean of both ends, as a share of their difference."""
BLACK: Final = 10.0
"""Mean level of a frame below which it has no picture, or above 255 less this."""
PLAIN: Final = 4.0
"""Deviation within a frame below which it has no picture if it is black or white as well."""


def transitions(thumbs: NDArray[np.uint8]) -> list[Span]:
    """Spans of frames that belong to no shot, in order and disjoint; thumbs are the frames, uint8 (T, n, n, 3)."""
    marked = np.zeros(len(thumbs), bool)
    flat = thumbs.reshape(len(thumbs), -1)
    for reach in REACHES:
        for middle in np.flatnonzero(_halfway(flat, reach)).tolist():
            marked[middle : middle + 2 * reach + 1] = True  # `middle` counts from frame `reach`
    level, spread = flat.mean(1), flat.std(1)
    marked |= ((level < BLACK) | (level > 255 - BLACK)) & (spread < PLAIN)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]])))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def _halfway(flat: NDArray[np.uint8], reach: int) -> NDArray[np.bool_]:
    """For each frame with `reach` frames on both sides, whether it is the mean of the outer ones, which differ."""
    if len(flat) <= 2 * reach:
        return np.zeros(0, bool)
    found = np.zeros(len(flat) - 2 * reach, bool)
    for index in range(len(found)):
        before, middle, after = (flat[index + step].astype(np.float32) for step in (0, reach, 2 * reach))
        apart = float(np.abs(after - before).mean())
        if apart >= DIFFERENT:
            found[index] = float(np.abs(middle - (before + after) / 2).mean()) <= BENT * apart
    return found
