"""How much moves: clips in which nearly nothing does teach stills, and a shaking camera teaches noise.

Dense inverse search (Kroeger et al., ECCV 2016, arXiv:1603.03590) finds the flow; the score is the mean over the
fastest twentieth of the pixels, as in the dynamic degree of VBench (Huang et al., CVPR 2024, arXiv:2311.17982).
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema_dataset.frames import Frames, check, luma, shrunk

PAIRS: Final = 6
LONGEST: Final = 256
LEAST_SIDE: Final = 64
"""Pixels; the search looks at images of a quarter of the side, by patches of eight."""
FASTEST: Final = 0.05
"""Share of the pixels that count: something small that moves in front of a still camera is motion too."""


def motion(frames: Frames) -> float:
    """Movement of the fastest pixels of uint8 (T, H, W, 3) per frame, as a share of the shorter side; 0 for one frame.

    Raises FramesError if it is not frames.
    """
    check(frames)
    if len(frames) == 1:
        return 0.0
    starts = sorted({round(i) for i in np.linspace(0, len(frames) - 2, PAIRS).tolist()})
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    return float(np.mean([_speed(search, frames, start) for start in starts]))


def _speed(search: cv2.DISOpticalFlow, frames: Frames, start: int) -> float:
    first, second = (_smooth(frames, index) for index in (start, start + 1))
    rows, columns = first.shape
    first, second = _widened(first), _widened(second)
    flow = search.calc(first, second, np.zeros((*first.shape, 2), np.float32))[:rows, :columns]
    speeds = np.sort(np.hypot(flow[..., 0], flow[..., 1]), axis=None)
    count = max(1, int(FASTEST * speeds.size))
    fastest = float(speeds[-count:].mean())
    return fastest / float(min(rows, columns))


def _widened(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image, its borders repeated where it is small or a narrow strip: the search would read beyond its end."""
    below, right = (max(0, LEAST_SIDE - side) for side in image.shape)
    return np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)


def _smooth(frames: Frames, index: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(luma(shrunk(frames[index], LONGEST)), (0, 0), 1.0), np.uint8)
