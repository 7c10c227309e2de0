"""Frames as all filters take them, and the smaller copies they look at: costs must not grow with the resolution."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema_dataset.errors import FramesError
from kinema_dataset.records import Bars

Frames: TypeAlias = NDArray[np.uint8]
"""RGB, uint8 (T, H, W, 3)."""
Image: TypeAlias = NDArray[np.uint8]
"""One frame (H, W, 3), or its luma (H, W)."""


def check(frames: Frames) -> None:
    """Raises FramesError unless it is uint8 (T, H, W, 3) with at least one frame and one pixel."""
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
        found = f"{frames.dtype} {frames.shape}"
        raise FramesError(f"frames are {found}: give uint8 (T, H, W, 3) with at least one frame and one pixel")


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0 to count - 1, evenly spread, first and last included, in order."""
    if count <= most:
        return list(range(count))
    return [round(i) for i in np.linspace(0, count - 1, most).tolist()] if most > 1 else [count // 2]


def shrunk(image: Image, longest: int) -> Image:
    """The image with its longer side at most `longest` pixels; the mean of the pixels that fall together."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    return image if scale >= 1 else resized(image, max(1, round(height * scale)), max(1, round(width * scale)))


def resized(image: Image, height: int, width: int) -> Image:
    """The image with that many rows and columns, whatever its aspect."""
    smaller = height <= image.shape[0] and width <= image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def luma(image: Image) -> Image:
    """Luma (H, W) of an RGB frame (H, W, 3) by BT.601."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def inside(frames: Frames, bars: Bars) -> Frames:
    """A view on the frames without their bars.

    Raises FramesError if the bars leave no picture.
    """
    _, height, width, _ = frames.shape
    if bars.top + bars.bottom >= height or bars.left + bars.right >= width:
        raise FramesError(f"bars {bars} cover the whole frame of {height} x {width}: measure them on these frames")
    return frames[:, bars.top : height - bars.bottom, bars.left : width - bars.right]
