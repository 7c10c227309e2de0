"""Out of focus, or enlarged from something small: such a clip has no detail that blurring it again would remove.

The blur metric of Crete et al. (The blur effect, SPIE 6492, 2007) compares the differences between neighbouring pixels
before and after a strong blur; it depends little on what is shown. It is asked of tiles, of which the best count: a
face in focus before a blurred street is sharp.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema_dataset.frames import Frames, check, luma, shrunk, spread

LOOKED_AT: Final = 5
"""Frames."""
LONGEST: Final = 640
"""Softness that a clip of this size does not show is not asked for."""
REACH: Final = 9
"""Pixels of the second blur."""
TILES: Final = (4, 6)
BEST: Final = 85
"""Percentile of the tiles that counts."""
DETAIL: Final = 1.0
"""Least mean difference between neighbours, in levels of 255, of a tile that is asked."""


def sharpness(frames: Frames) -> float:
    """Share of detail that a second blur removes from frames uint8 (T, H, W, 3): about 0.7 sharp, below 0.4 blurred.

    The median over at most 5 frames; 0 if nothing in them has any detail. Raises FramesError if it is not frames.
    """
    check(frames)
    return float(np.median([_of_frame(luma(shrunk(frames[i], LONGEST))) for i in spread(len(frames), LOOKED_AT)]))


def _of_frame(image: NDArray[np.uint8]) -> float:
    picture = image.astype(np.float32)
    down, across = (_tiles(picture, axis) for axis in (0, 1))
    asked = np.maximum(down[0], across[0]) >= DETAIL
    if not asked.any():
        return 0.0
    lost = np.minimum(*(np.divide(left, had, out=np.ones_like(had), where=had > 0.1) for had, left in (down, across)))
    return float(np.percentile(lost[asked], BEST))


def _tiles(picture: NDArray[np.float32], axis: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Per tile, the mean difference between neighbours along the axis, and how much of it the second blur removes."""
    reach = (1, REACH) if axis == 0 else (REACH, 1)
    blurred = np.asarray(cv2.blur(picture, reach), np.float32)
    had, has = (np.abs(np.diff(one, axis=axis)) for one in (picture, blurred))
    removed = np.maximum(had - has, 0)
    rows, columns = (min(tiles, size) for tiles, size in zip(TILES, had.shape, strict=True))
    if not rows or not columns:
        return np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32)
    size = (columns, rows)
    had, removed = (np.asarray(cv2.resize(one, size, interpolation=cv2.INTER_AREA)) for one in (had, removed))
    full = np.zeros((2, *TILES), np.float32)
    full[0, :rows, :columns], full[1, :rows, :columns] = had, removed
    return full[0], full[1]
