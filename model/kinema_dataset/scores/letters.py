"""Connected components that may be letters of overlaid text: one colour, strokes of one width, sharp and steady.

Strokes of constant width as a mark of letters are after Epshtein et al. (Detecting text in natural scenes with stroke
width transform, CVPR 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

BLOCK: Final = 31
"""Side of the neighbourhood whose mean a letter stands out from, in pixels."""
STANDS_OUT: Final = (18, 50)
"""Levels of 255 by which a pixel of a letter does: where small letters touch, the second takes them apart."""
CONTRAST: Final = 40
"""Least difference between a letter's pixels and those around it."""
HEIGHTS: Final = (7, 0.3)
"""Least height in pixels, greatest as a share of the frame's."""
ASPECTS: Final = (0.06, 2.6)
FILL: Final = (0.15, 0.98)
STROKE: Final = (0.04, 0.55)
"""Width of strokes as a share of the height."""
UNEVEN: Final = 0.45
"""Greatest deviation of a letter's pixels from their mean, as a share of its contrast."""
UNREST: Final = 10.0
"""Greatest mean deviation of a letter's pixels over time, in levels."""
MOST: Final = 500
"""Components that are looked at: those of greatest contrast."""


@dataclass(frozen=True)
class Letters:
    """Boxes (left, top, right, bottom) of shape (N, 4) in pixels, and what letters of one line have in common."""

    boxes: NDArray[np.int64]
    stroke: NDArray[np.float64]
    level: NDArray[np.float64]

    @property
    def heights(self) -> NDArray[np.int64]:
        """Rows of each."""
        return np.asarray(self.boxes[:, 3] - self.boxes[:, 1])

    @property
    def widths(self) -> NDArray[np.int64]:
        """Columns of each."""
        return np.asarray(self.boxes[:, 2] - self.boxes[:, 0])

    def only(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Letters:
        """Those of a mask or of indices."""
        return Letters(self.boxes[chosen], self.stroke[chosen], self.level[chosen])


def find_letters(image: NDArray[np.uint8], unrest: NDArray[np.float32], *, light: bool, by: int) -> Letters:
    """Letters in luma (H, W) that are lighter, or darker, than what is around them by so many levels.

    `unrest` (H, W) is how much each pixel changes over time, in levels.
    """
    picture = image if light else 255 - image
    method = cv2.ADAPTIVE_THRESH_MEAN_C
    mask = np.asarray(cv2.adaptiveThreshold(picture, 1, method, cv2.THRESH_BINARY, BLOCK, -by), np.uint8)
    labels, stats = (np.asarray(one, np.int32) for one in cv2.connectedComponentsWithStats(mask, connectivity=8)[1:3])
    shaped = _shaped(stats, *image.shape)
    if not shaped.size:
        return Letters(np.zeros((0, 4), np.int64), np.zeros(0), np.zeros(0))
    measured = _measured(picture, unrest, mask, labels, len(stats))
    contrast, uneven, restless, level, stroke = (one[shaped] for one in measured)
    thick = stroke / stats[shaped, cv2.CC_STAT_HEIGHT]
    good = (contrast >= CONTRAST) & (uneven <= UNEVEN) & (restless <= UNREST) & _between(thick, STROKE)
    order = np.argsort(-contrast[good], kind="stable")[:MOST]
    left, top, width, height = (stats[shaped, i].astype(np.int64) for i in range(4))
    boxes = np.stack([left, top, left + width, top + height], axis=1)
    return Letters(boxes[good][order], stroke[good][order], level[good][order])


def _shaped(stats: NDArray[np.int32], rows: int, columns: int) -> NDArray[np.int64]:
    """Components with the size and proportions of a letter, or of a few that touch.

    What the frame cuts off is part of the scene: whoever lays text over a clip keeps it whole.
    """
    width, height, area = (stats[:, i].astype(np.float64) for i in (2, 3, 4))
    good = (height >= HEIGHTS[0]) & (height <= HEIGHTS[1] * rows) & _between(width / height, ASPECTS)
    good &= _between(area / (width * height), FILL)
    left, top, wide, tall = (stats[:, i] for i in range(4))
    good &= (left > 0) & (top > 0) & (left + wide < columns) & (top + tall < rows)
    good[0] = False  # the background
    return np.flatnonzero(good)


def _measured(
    picture: NDArray[np.uint8],
    unrest: NDArray[np.float32],
    mask: NDArray[np.uint8],
    labels: NDArray[np.int32],
    count: int,
) -> tuple[NDArray[np.float64], ...]:
    """Contrast, unevenness as a share of it, unrest, level, and width of strokes, of every component."""
    inner = cv2.distanceTransform(mask, cv2.DIST_L2, 3).astype(np.float64)
    # The mean distance to the edge inside a stroke of width w is about w / 4, and half a pixel more.
    flat = labels.ravel()
    area = np.bincount(flat, minlength=count)
    stroke = np.maximum(4 * (np.bincount(flat, weights=inner.ravel(), minlength=count) / np.maximum(area, 1) - 0.5), 1)
    # Pixels at the edge are half letter and half background: those inside count more.
    weight = inner.ravel() ** 2
    total = np.maximum(np.bincount(flat, weights=weight, minlength=count), 1e-6)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(flat, weights=weight * values.ravel(), minlength=count) / total)

    grey = picture.astype(np.float64)
    level = mean(grey)
    spread = np.sqrt(np.maximum(mean(grey**2) - level**2, 0))
    contrast = level - _level_around(picture, labels, count)
    return contrast, spread / np.maximum(contrast, 1), mean(unrest.astype(np.float64)), level, stroke


def _level_around(picture: NDArray[np.uint8], labels: NDArray[np.int32], count: int) -> NDArray[np.float64]:
    """Mean level of the pixels two steps outside of each component; where two meet, of the greater label."""
    kernel = np.ones((3, 3), np.uint8)
    grown = cv2.dilate(labels.astype(np.float32), kernel, iterations=2).astype(np.int32)
    ring = np.where(labels == 0, grown, 0).ravel()
    pixels = np.maximum(np.bincount(ring, minlength=count), 1)
    return np.asarray(np.bincount(ring, weights=picture.ravel().astype(np.float64), minlength=count) / pixels)


def _between(values: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.bool_]:
    return np.asarray((values >= bounds[0]) & (values <= bounds[1]))
