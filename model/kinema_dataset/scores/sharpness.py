"""Out of focus, or enlarged from something small: such a clip has coarse detail and no fine detail.

In natural images every octave of spatial frequency has about as much contrast as the next one (Field, Relations between
the statistics of natural images and the response properties of cortical cells, JOSA A 4(12), 1987), and blur takes it
from the finest. Octaves are counted by the size of the picture, not in pixels: what looks blurred looks so in a small
copy too. Tiles are asked, of which the best count: a face in focus before a blurred street is sharp.
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
FINE: Final = 0.0053
COARSE: Final = (0.0066, 0.0165)
"""Widths of Gaussians as shares of the side of a square of the frame's area: fine detail is what the first takes off,
coarse detail what lies between the others."""
LEAST_WIDTH: Final = 0.3
"""Pixels; a narrower Gaussian changes nothing."""
TILES: Final = (4, 6)
BEST: Final = 95
"""Percentile of the tiles that counts."""
DETAIL: Final = 1.0
"""Least mean coarse detail, in levels of 255, of a tile that is asked."""
SCALE: Final = 4 / 3
"""Puts sharp pictures at about 0.7 and the boundary at 0.4."""


def sharpness(frames: Frames) -> float:
    """Fine detail of frames uint8 (T, H, W, 3) as a share of all detail: about 0.7 sharp, below 0.4 blurred.

    The median over at most 5 frames; 0 if nothing in them has any detail. Raises FramesError if it is not frames.
    """
    check(frames)
    return float(np.median([_of_frame(luma(shrunk(frames[i], LONGEST))) for i in spread(len(frames), LOOKED_AT)]))


def _of_frame(image: NDArray[np.uint8]) -> float:
    picture = image.astype(np.float32)
    side = float(np.sqrt(picture.size))
    fine = np.abs(picture - _blurred(picture, FINE * side))
    coarse = np.abs(_blurred(picture, COARSE[0] * side) - _blurred(picture, COARSE[1] * side))
    rows, columns = (min(tiles, size) for tiles, size in zip(TILES, picture.shape, strict=True))
    fine, coarse = (
        np.asarray(cv2.resize(one, (columns, rows), interpolation=cv2.INTER_AREA)) for one in (fine, coarse)
    )
    asked = coarse >= DETAIL
    if not asked.any():
        return 0.0
    return min(1.0, SCALE * float(np.percentile((fine / (fine + coarse))[asked], BEST)))


def _blurred(picture: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    return picture if width < LEAST_WIDTH else np.asarray(cv2.GaussianBlur(picture, (0, 0), width), np.float32)
