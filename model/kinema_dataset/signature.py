"""What is left of a clip for finding its near-duplicates: small, and little changed by encoders, crops and mirrors.

A signature has the luma of the clip in 24 x 24 cells, eight times a second, and its mean colour. From it come
views, by which likely pairs are found without comparing all; `alignment.duplicates` decides about a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema_dataset.errors import SignatureError
from kinema_dataset.frames import Frames, check, luma, shrunk

CELLS: Final = 24
RATE: Final = 8.0
"""Samples a second; each is the mean of the frames that fall into it, so a shift by less changes little."""
MOST: Final = 64
"""Samples: 8 s."""
COLOURS: Final = 8
"""Cells along a side of the mean colour."""
FREQUENCIES: Final = 5
"""Cosines along a side that describe the mean picture."""


@dataclass(frozen=True)
class Signature:
    """Luma uint8 (samples, 24, 24), and the mean of two colour differences float32 (2, 8, 8)."""

    luma: NDArray[np.uint8]
    colour: NDArray[np.float32]

    @cached_property
    def mean(self) -> NDArray[np.float32]:
        """Mean luma over time, float32 (24, 24)."""
        return np.asarray(self.luma.mean(0, dtype=np.float32))

    def mirrored(self) -> Signature:
        """The signature of the clip with left and right exchanged."""
        return Signature(self.luma[:, :, ::-1], self.colour[:, :, ::-1])


def signature(frames: Frames, fps: float) -> Signature:
    """The signature of the first 8 s of frames uint8 (T, H, W, 3) at that many frames per second.

    Raises FramesError if it is not frames, SignatureError if `fps` is not positive.
    """
    check(frames)
    if not fps > 0:
        raise SignatureError(f"fps is {fps}: give the frames per second of the clip")
    sample = np.minimum((np.arange(len(frames)) * RATE / fps).astype(int), MOST)
    _, sample = np.unique(sample[sample < MOST], return_inverse=True)
    count = int(sample[-1]) + 1
    sums, colour = np.zeros((count, CELLS, CELLS)), np.zeros((2, COLOURS, COLOURS))
    for index, at in enumerate(sample.tolist()):
        small = shrunk(frames[index], 8 * CELLS)
        sums[at] += _cells(luma(small), CELLS)
        if index % 4 == 0:
            red, green, blue = (_cells(small[..., channel], COLOURS) for channel in range(3))
            colour += np.stack([red - green, (red + green) / 2 - blue])
    means = sums / np.bincount(sample)[:, None, None]
    return Signature(np.rint(means).astype(np.uint8), (colour / -(-len(sample) // 4)).astype(np.float32))


def _cells(plane: NDArray[np.uint8], cells: int) -> NDArray[np.float32]:
    picture = np.ascontiguousarray(plane, np.float32)
    return np.asarray(cv2.resize(picture, (cells, cells), interpolation=cv2.INTER_AREA), np.float32)


def _cosines(size: int) -> NDArray[np.float32]:
    """The first orthonormal cosines (DCT-II) over `size` samples, (FREQUENCIES, size)."""
    wave = np.cos(np.pi * np.outer(np.arange(FREQUENCIES), np.arange(size) + 0.5) / size)
    return np.asarray(wave / np.linalg.norm(wave, axis=1, keepdims=True), np.float32)


def window(cells: int, start: float, end: float, across: int) -> NDArray[np.float32]:
    """Means over a part of one axis, of `across` cells, (cells, across); start and end are shares of it."""
    edges, cell = np.linspace(start * across, end * across, cells + 1), np.arange(across)
    covered = np.minimum.outer(edges[1:], cell + 1.0) - np.maximum.outer(edges[:-1], cell * 1.0)
    weights = np.clip(covered, 0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


_LUMA, _COLOUR = _cosines(CELLS), _cosines(COLOURS)
_PARTS: Final = ((0.0, 1.0), (0.0, 0.9), (0.1, 1.0), (0.05, 0.95))
_VIEWS: Final = ((0, 0), (1, 1), (1, 2), (2, 1), (2, 2), (3, 3))
"""Rows and columns of the whole, four corners, and the middle, as numbers of parts."""
_MIDDLE: Final = 110.0
"""Luma from which a picture is lighter or darker."""
_COLOURFUL: Final = 2.0
"""Weight of colour: it survives crops and shifts best."""


def views(of: Signature) -> NDArray[np.float32]:
    """Unit vectors float32 (12, 75): low cosines of luma and colour, of the clip and of five crops, all mirrored too.

    A clip that was cropped is close to one of the crops of the clip that it was made of.
    """
    both = (of, of.mirrored())
    return np.stack([_described(one, _PARTS[rows], _PARTS[columns]) for one in both for rows, columns in _VIEWS])


def _described(of: Signature, rows: tuple[float, float], columns: tuple[float, float]) -> NDArray[np.float32]:
    down, across = (_LUMA @ window(CELLS, *part, CELLS) for part in (rows, columns))
    picture = down @ (of.mean - _MIDDLE) @ across.T / CELLS
    down, across = (_COLOUR @ window(COLOURS, *part, COLOURS) for part in (rows, columns))
    colours = [_COLOURFUL * (down @ plane @ across.T) / COLOURS for plane in of.colour]
    flat = np.concatenate([one.ravel() for one in (picture, *colours)])
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-6), np.float32)
