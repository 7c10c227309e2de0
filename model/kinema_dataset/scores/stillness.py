"""Slide shows, frozen streams and frames doubled for another rate: frames that repeat the one before."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema_dataset.frames import Frames, check, luma, shrunk

LONGEST: Final = 40
"""Cells along the longer side: the mean over a cell takes away grain and what an encoder adds."""
LEAST: Final = 8
"""Pixels along a side of a cell."""
SAME: Final = 1.5
"""Greatest change of a cell between two frames of which one repeats the other, in levels of 255."""


def stillness(frames: Frames) -> float:
    """Share of the steps from frame to frame of uint8 (T, H, W, 3) in which no cell changes; 1 for a single frame.

    Raises FramesError if it is not frames.
    """
    check(frames)
    if len(frames) == 1:
        return 1.0
    before, repeats = _cells(frames, 0), 0
    for index in range(1, len(frames)):
        now = _cells(frames, index)
        repeats += float(np.abs(now - before).max()) < SAME
        before = now
    return repeats / (len(frames) - 1)


def _cells(frames: Frames, index: int) -> NDArray[np.float32]:
    """Means over cells, finer than a level."""
    fine = luma(shrunk(frames[index], 8 * LONGEST)).astype(np.float32)
    scale = min(1 / LEAST, LONGEST / max(fine.shape))
    size = (max(1, round(fine.shape[1] * scale)), max(1, round(fine.shape[0] * scale)))
    return np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA), np.float32)
