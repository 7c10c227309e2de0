"""Where cells lie on a frame, and how large a clip must be to carry a watermark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from kinema_safety.watermark.convolution import Floats
from kinema_safety.watermark.pattern import CYCLES_PER_SECOND

CELLS_PER_SIDE: Final = (60, 30)
"""Cells along the shorter side of a frame: the first that gives cells of `MIN_CELL` or more, else the last. A number
of cells rather than of pixels, so that a clip keeps its cells when it is scaled."""
MIN_CELL: Final = 4.0
"""Pixels along a side of the smallest cell; encoders remove what is smaller."""
MIN_FRAMES_PER_SECOND: Final = 2.5 * CYCLES_PER_SECOND
MIN_SECONDS: Final = 1.0
MIN_CELL_SECONDS: Final = 2000.0
"""Cells times seconds that a payload needs."""


@dataclass(frozen=True)
class Capacity:
    """Whether a clip of a shape can carry a watermark, and if not, why."""

    cells: int
    """Cells of a frame."""
    sufficient: bool
    message: str


def cell_size(height: int, width: int) -> float:
    """Pixels along a side of a cell in frames of that size."""
    sizes = [min(height, width) / cells for cells in CELLS_PER_SIDE]
    return next((size for size in sizes if size >= MIN_CELL), sizes[-1])


def capacity(frames: int, height: int, width: int, fps: float) -> Capacity:
    """What a clip of this shape at that many frames per second can carry; `message` is one sentence."""
    size = cell_size(height, width)
    cells, seconds = int(height / size) * int(width / size), frames / fps if fps > 0 else 0.0
    shown = f"A clip of {frames} frames of {width}x{height} at {fps:g} frames per second"
    if fps < MIN_FRAMES_PER_SECOND:
        why = f"it needs at least {MIN_FRAMES_PER_SECOND:g} frames per second"
    elif seconds < MIN_SECONDS:
        why = f"it needs at least {MIN_SECONDS:g} s"
    elif size < MIN_CELL:
        why = f"its shorter side needs at least {MIN_CELL * CELLS_PER_SIDE[-1]:.0f} pixels"
    elif cells * seconds < MIN_CELL_SECONDS:
        why = f"it needs at least {MIN_CELL_SECONDS / cells:.1f} s"
    else:
        return Capacity(cells, True, f"{shown} carries a watermark in {cells} cells.")
    return Capacity(cells, False, f"{shown} is too small to carry a watermark: {why}.")


@dataclass(frozen=True)
class Interpolation:
    """One axis of a frame: between which two cells each pixel lies, and how far from the first, 0 to 1."""

    first: npt.NDArray[np.int64]
    share: Floats
    count: int
    """Cells along the axis, with one on each side beyond the frame."""


def interpolation(pixels: int, size: float) -> Interpolation:
    """Linear interpolation between the centres of cells of `size` pixels; cell 0 of the result is cell -1 of the
    frame."""
    at = (np.arange(pixels) + 0.5) / size + 0.5
    first = np.floor(at).astype(np.int64)
    return Interpolation(first, (at - first).astype(np.float32), int(first[-1]) + 2)


def edges(pixels: int, size: float) -> npt.NDArray[np.int64]:
    """First pixel of each cell of the frame, whole or not."""
    return np.floor(np.arange(0, pixels / size - 1e-9) * size).astype(np.int64)
