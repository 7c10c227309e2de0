"""The size at which a clip is stored: its own aspect, within an area, in whole cells of the model.

Frames are scaled until they just cover that size and cropped around the middle, which takes off less than half a cell
of either side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kinema_dataset.errors import FramesError
from kinema_dataset.frames import Frames, check, resized


@dataclass(frozen=True)
class Fit:
    """Rows and columns that are stored."""

    height: int
    width: int


def fitting(height: int, width: int, area: int, cell: tuple[int, int]) -> Fit:
    """The size for frames of these sides: at most `area` pixels, sides that are multiples of a cell (rows, columns).

    A side that is smaller than a cell becomes one, even where that takes more than the area.
    Raises FramesError unless all are positive.
    """
    if min(height, width, area, *cell) < 1:
        raise FramesError(f"frames of {height} x {width}, {area} pixels, cells of {cell}: give positive numbers")
    scale = min(1.0, math.sqrt(area / (height * width)))
    rows, columns = (max(1, round(side * scale / one)) for side, one in zip((height, width), cell, strict=True))
    while rows * columns * cell[0] * cell[1] > area and max(rows, columns) > 1:
        # The side that was rounded up by more loses a cell.
        over = [
            count * one / (side * scale)
            for count, one, side in zip((rows, columns), cell, (height, width), strict=True)
        ]
        if (over[0] >= over[1] or columns == 1) and rows > 1:
            rows -= 1
        else:
            columns -= 1
    return Fit(rows * cell[0], columns * cell[1])


def fitted(frames: Frames, to: Fit) -> Frames:
    """Frames uint8 (T, H, W, 3) scaled to cover that size, and cropped around the middle.

    Raises FramesError if it is not frames.
    """
    check(frames)
    height, width = frames.shape[1:3]
    scale = max(to.height / height, to.width / width)
    tall, wide = max(to.height, round(height * scale)), max(to.width, round(width * scale))
    top, left = (tall - to.height) // 2, (wide - to.width) // 2
    made = np.empty((len(frames), to.height, to.width, 3), np.uint8)
    for index, frame in enumerate(frames):
        made[index] = resized(frame, tall, wide)[top : top + to.height, left : left + to.width]
    return made
