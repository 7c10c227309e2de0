"""From frames to one complex number per pixel of a small plane: what goes up and down at the watermark's rate.

The difference of neighbouring frames removes what stands still and whitens what moves slowly. It is limited to a few
grey levels, since the mark changes less than that from frame to frame: a moving edge then weighs no more than a quiet
surface.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from kinema_safety.watermark import grid
from kinema_safety.watermark.convolution import Floats
from kinema_safety.watermark.pattern import Complex

Video = npt.NDArray[np.uint8]

LIMIT: Final = 4.0
"""Largest difference between frames that counts, in grey levels."""
SAMPLES_PER_CELL: Final = 4
_LUMA: Final = (54, 183, 18)  # of BT.709, in 256ths; their sum leaves room in 16 bits


class Demodulator:
    """Collects the frames of one window of time, for several rates at once."""

    def __init__(self, shape: tuple[int, int], fps: float, rates: tuple[float, ...]) -> None:
        """For frames of (height, width) at `fps`; `rates` are in cycles per second."""
        smallest = min(shape) / grid.CELLS_PER_SIDE[0]
        self.factor = max(1, int(smallest // SAMPLES_PER_CELL))
        self.cells = tuple(min(shape) / number / self.factor for number in grid.CELLS_PER_SIDE)
        """Pixels of a plane along a side of a cell, as far as the size of a frame tells it."""
        self.shape, self.rates = shape, len(rates)
        self._turns = [-2j * np.pi * rate / fps for rate in rates]
        plane = (shape[0] // self.factor, shape[1] // self.factor)
        self._sums = np.zeros((len(rates), 2, *plane), np.float32)
        self._last: Floats | None = None
        self.frames = 0

    def add(self, pixels: Video) -> None:
        """Add the next frame, uint8 (H, W, 3)."""
        now = _shrunk(_luma(pixels), self.factor)
        if self._last is not None:
            change = np.clip(now - self._last, -LIMIT, LIMIT)
            for sums, turn in zip(self._sums, self._turns, strict=True):
                phase = np.exp(-turn * (self.frames - 0.5))
                sums[0] += change * np.float32(phase.real)
                sums[1] += change * np.float32(phase.imag)
        self._last = now
        self.frames += 1

    def plane(self, rate: int) -> Complex:
        """The plane complex64 (H / factor, W / factor) of one of the rates, by its number."""
        real, imaginary = self._sums[rate]
        return np.asarray(real + 1j * imaginary, np.complex64)


def equalised(plane: Complex, cell: float) -> Complex:
    """A plane without what varies more slowly than cells of so many pixels, and with the same strength everywhere."""
    near, far = max(3, round(3 * cell) | 1), max(5, round(8 * cell) | 1)
    sharp = plane - _box(plane, near)
    power = _box((sharp.real**2 + sharp.imag**2).astype(np.complex64), far).real
    return np.asarray(sharp / np.sqrt(power + 1e-3 * power.mean() + 1e-12), np.complex64)


def _box(plane: Complex, side: int) -> Complex:
    """Means over squares of `side` pixels; the border is repeated."""
    for axis in (0, 1):
        reach = side // 2
        padding = [(reach + 1, reach) if number == axis else (0, 0) for number in (0, 1)]
        sums = np.cumsum(np.pad(plane, padding, mode="edge"), axis=axis, dtype=np.complex128)
        head = (slice(side, None), slice(None)) if axis == 0 else (slice(None), slice(side, None))
        tail = (slice(None, -side), slice(None)) if axis == 0 else (slice(None), slice(None, -side))
        plane = ((sums[head] - sums[tail]) / side).astype(np.complex64)
    return plane


def _luma(pixels: Video) -> npt.NDArray[np.uint16]:
    """Luma times 255, uint16 (H, W)."""
    red, green, blue = (pixels[..., channel].astype(np.uint16) * weight for channel, weight in enumerate(_LUMA))
    return np.asarray(red + green + blue)


def _shrunk(luma: npt.NDArray[np.uint16], factor: int) -> Floats:
    """Means of squares of `factor` pixels in grey levels; what fills no square is cut off."""
    height, width = luma.shape[0] // factor * factor, luma.shape[1] // factor * factor
    rows = np.add.reduceat(luma[:height, :width], np.arange(0, height, factor), axis=0, dtype=np.uint32)
    sums = np.add.reduceat(rows, np.arange(0, width, factor), axis=1)
    return sums.astype(np.float32) / np.float32(255 * factor * factor)
