"""Finds the template on a plane: which scale, which place on the tile, and which phase in time.

For every scale the plane is averaged into half cells and folded onto the tile; one Fourier transform then correlates
it with the template at all places (time needs no search: it is the phase of the correlation). The noise of that
correlation is a complex normal variable, so its squared magnitude over the mean exceeds t with probability exp(-t):
the threshold follows from the number of trials.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np

from kinema_safety.watermark.pattern import TILE, Complex, template

HALVES: Final = 2
THRESHOLD: Final = 22.0
"""exp(-22) = 3e-10 a trial: with 2^14 places, 250 scales and 9 rates at most 0.01 of clips without a template go on to
the payload."""
SCALES: Final = tuple(float(scale) for scale in np.exp(np.arange(np.log(0.75), np.log(1.65), 0.004)))
"""Cell size over the one that a frame's size tells: above 1 for a crop, below for a frame with bars around it."""
_LEAST_POWER: Final = 1e-30
_STEPS: Final = (0.25, 0.125, 0.0625)
"""Cells by which `refine` moves."""
_MOVES: Final = (
    *((0, down, right) for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1))),
    *((grow, shift, shift) for grow in (1, -1) for shift in (0, -grow)),
)
"""By what a cell grows over the frame, and by what the tile moves; growth is tried about two corners."""
_MOST_MOVES: Final = 8


@dataclass(frozen=True)
class Lock:
    """Where the template lies on a plane."""

    size: float
    """Pixels of the plane along a side of a cell."""
    top: float
    """Row of the plane at which the tile begins."""
    left: float
    strength: float
    """Squared magnitude of the correlation over that of noise."""


def search(plane: Complex, size: float, scales: tuple[float, ...] = SCALES) -> Lock | None:
    """The best lock with cells of `size` pixels times one of `scales`, or None if there is no template."""
    found = max((_at_scale(plane, size * scale) for scale in scales), key=lambda lock: lock.strength)
    return refine(plane, found) if found.strength >= THRESHOLD else None


def _at_scale(plane: Complex, size: float) -> Lock:
    half = size / HALVES
    folded = _folded(_sampled(plane, half, 0.0, 0.0), HALVES * TILE)
    surface = np.fft.ifft2(np.fft.fft2(folded) * _spectrum())
    power = surface.real**2 + surface.imag**2
    row, column = np.unravel_index(power.argmax(), power.shape)
    return Lock(
        size, float(row) * half, float(column) * half, float(power[row, column] / (power.mean() + _LEAST_POWER))
    )


@cache
def _spectrum() -> Complex:
    """Conjugate transform of the template in half cells, linearly interpolated as it is embedded."""
    tile = template()
    for axis in (0, 1):
        before, after = np.roll(tile, 1, axis), np.roll(tile, -1, axis)
        tile = np.stack([0.75 * tile + 0.25 * before, 0.75 * tile + 0.25 * after], axis + 1)
        tile = tile.reshape([HALVES * TILE if n <= axis else TILE for n in (0, 1)])
    return np.asarray(np.fft.fft2(tile).conj(), np.complex64)


def refine(plane: Complex, lock: Lock) -> Lock:
    """The lock with place and size moved in smaller and smaller steps to where the correlation is largest."""
    cells = max(plane.shape) / lock.size
    best, value = lock, _match(plane, lock)
    for step in _STEPS:
        shift = step * lock.size
        for _ in range(_MOST_MOVES):
            tries = [_moved(best, shift * grow / cells, shift * down, shift * right) for grow, down, right in _MOVES]
            values = [_match(plane, one) for one in tries]
            if max(values) <= value:
                break
            value = max(values)
            best = tries[values.index(value)]
    return best


def _moved(lock: Lock, grow: float, down: float, right: float) -> Lock:
    return replace(lock, size=lock.size + grow, top=lock.top + down, left=lock.left + right)


def _match(plane: Complex, lock: Lock) -> float:
    return float(abs(np.vdot(template(), cells_of(plane, lock))))


def cells_of(plane: Complex, lock: Lock) -> Complex:
    """The plane as cells, folded onto the tile, complex64 (64, 64)."""
    top, left = lock.top % lock.size, lock.left % lock.size
    skip = (round((top - lock.top) / lock.size), round((left - lock.left) / lock.size))
    sampled = _sampled(plane, lock.size, top, left)
    return np.roll(_folded(sampled, TILE), skip, axis=(0, 1))


def _sampled(plane: Complex, size: float, top: float, left: float) -> Complex:
    """Means over squares of `size` pixels, the first of which begins at (top, left); as many as fit."""
    for start in (top, left):  # the plane is turned over twice
        edges = start + size * np.arange(int((plane.shape[0] - start) / size + 1e-6) + 1)
        first = np.minimum(edges.astype(np.int64), plane.shape[0] - 1)
        sums = np.zeros((plane.shape[0] + 1, plane.shape[1]), np.complex64)
        np.cumsum(plane, axis=0, out=sums[1:])
        at_edges = sums[first] + (edges - first).astype(np.float32)[:, None] * plane[first]
        plane = np.ascontiguousarray(np.diff(at_edges, axis=0).T)
    return np.asarray(plane / (size * size), np.complex64)


def _folded(cells: Complex, side: int) -> Complex:
    """Sums over cells that lie on the same place of a tile of `side` cells."""
    padded = np.zeros([-(-length // side) * side for length in cells.shape], np.complex64)
    padded[: cells.shape[0], : cells.shape[1]] = cells
    rows, columns = (length // side for length in padded.shape)
    return np.asarray(padded.reshape(rows, side, columns, side).sum(axis=(0, 2)))
