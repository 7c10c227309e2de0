"""From letters to lines: letters that agree in height, stroke and colour and stand beside each other on one line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kinema_dataset.scores.letters import Letters

Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are the first ones outside."""

HEIGHT_RATIO, STROKE_RATIO, LEVELS = 1.9, 1.9, 30
"""Greatest ratio of the heights of neighbours, of their strokes, and greatest difference of their levels."""
GAP: Final = 1.1
"""Greatest distance between neighbours, in heights of the higher one: a space is about half of one."""
OVERLAP: Final = 0.5
"""Least share of the lower letter's rows that both have."""
LEAST: Final = 4
"""Letters of a line."""
LONG: Final = 2.0
"""Least width of a line in heights."""
STROKES: Final = 0.25
"""Greatest deviation of the strokes of a line, as a share of their mean."""
COLOUR: Final = 12.0
"""Greatest deviation of the levels of its letters."""
OFF: Final = 0.12
"""Greatest median distance of the feet of letters from those of the line, or of their heads, in heights."""


def text_boxes(letters: Letters) -> Iterator[Box]:
    """Boxes around lines of text."""
    count = len(letters.boxes)
    if count < LEAST:
        return
    parents = list(range(count))
    for first, second in np.argwhere(_neighbours(letters)).tolist():
        parents[_root(parents, first)] = _root(parents, second)
    roots = np.array([_root(parents, index) for index in range(count)])
    for root in np.unique(roots):
        line = letters.only(roots == root)
        if _reads_as_a_line(line):
            low, high = line.boxes[:, :2].min(0), line.boxes[:, 2:].max(0)
            yield (int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


def _neighbours(letters: Letters) -> NDArray[np.bool_]:
    """Which two of N letters may stand next to each other, (N, N)."""
    left, top, right, bottom = (letters.boxes[:, i].astype(np.float64) for i in range(4))
    heights = letters.heights.astype(np.float64)
    higher, lower = np.maximum.outer(heights, heights), np.minimum.outer(heights, heights)
    shared = np.minimum.outer(bottom, bottom) - np.maximum.outer(top, top)
    apart = np.maximum.outer(left, left) - np.minimum.outer(right, right)
    strokes = np.maximum.outer(letters.stroke, letters.stroke) / np.minimum.outer(letters.stroke, letters.stroke)
    levels = np.abs(np.subtract.outer(letters.level, letters.level))
    close = (shared >= OVERLAP * lower) & (apart <= GAP * higher) & (apart >= -0.3 * lower)
    alike = (higher <= HEIGHT_RATIO * lower) & (strokes <= STROKE_RATIO) & (levels <= LEVELS)
    return np.triu(close & alike, 1)


def _reads_as_a_line(line: Letters) -> bool:
    if len(line.boxes) < LEAST:
        return False
    height = float(np.percentile(line.heights, 75))
    wide = float(line.boxes[:, 2].max() - line.boxes[:, 0].min())
    deep = float(line.boxes[:, 3].max() - line.boxes[:, 1].min())
    feet, heads = line.boxes[:, 3], line.boxes[:, 1]
    off = min(float(np.median(np.abs(edge - np.median(edge)))) for edge in (feet, heads))
    alike = line.stroke.std() <= STROKES * line.stroke.mean() and line.level.std() <= COLOUR
    return bool(alike and wide >= LONG * height and deep <= 2.2 * height and off <= OFF * height)
