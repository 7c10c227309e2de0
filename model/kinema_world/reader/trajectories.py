"""From centres over time to motion: straight pieces, the breaks between them, and falls.

Points have frame numbers; frames in which an object is not wholly visible are left out.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from kinema_world.reader.reading import Fall

Floats = npt.NDArray[np.float64]

# Points of a piece of a trajectory.
_LEAST_POINTS: Final = 3
# A break must explain this many times the squared error of a point.
_PRICE_OF_A_BREAK: Final = 6.0
# A straight trajectory leaves its line by no more than this many errors of a point (root mean square).
_WORST_LINE: Final = 2.0
_FALL_SPREAD: Final = 0.04
_FALL_GAIN: Final = 4.0
_FALL_SAG: Final = 0.01
_FALL_START: Final = 0.3
_TURN: Final = 0.02


@dataclass(frozen=True, eq=False)
class Piece:
    """A straight piece through points first to last: position = origin (2,) px + frame * step (2,) px per frame."""

    first: int
    last: int
    origin: Floats
    step: Floats


def point_error(side: int) -> float:
    """The expected error in px of a centre, for a frame whose shorter side is `side` px."""
    return max(0.35, 0.006 * side)


def pieces(frames: Floats, points: Floats, error: float) -> list[Piece] | None:
    """The fewest straight pieces that explain points (n, 2) at frames (n,), or None where none do.

    Exact by dynamic programming: squared error plus a price for each break.
    """
    count = len(frames)
    costs = _costs(frames, points)
    best = np.full(count + 1, np.inf)
    best[0] = 0
    before = np.zeros(count + 1, dtype=int)
    for end in range(1, count + 1):
        starts = np.array([start for start in range(end) if end - start >= _LEAST_POINTS or start == 0])
        totals = best[starts] + costs[starts, end - 1] + _PRICE_OF_A_BREAK * error**2
        chosen = int(totals.argmin())
        best[end], before[end] = totals[chosen], starts[chosen]
    found: list[Piece] = []
    end, squares = count, 0.0
    while end > 0:
        start = int(before[end])
        squares += float(costs[start, end - 1])
        found.insert(0, _piece(frames, points, start, end - 1))
        end = start
    return found if squares <= count * (_WORST_LINE * error) ** 2 else None


def _costs(frames: Floats, points: Floats) -> Floats:
    """Squared error (n, n) of the best line through points i to j, from running sums."""
    times = frames - frames.mean()
    places = points - points.mean(axis=0)

    def between(values: Floats) -> Floats:
        sums = np.concatenate((np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)))
        return np.asarray(sums[None, 1:] - sums[:-1, None])

    number = np.maximum(between(np.ones(len(times))), 1)
    t, tt = between(times), between(times**2)
    p, tp = between(places), between(times[:, None] * places)
    pp = between((places**2).sum(axis=1))
    spread = np.maximum(tt - t**2 / number, 1e-12)
    slope = (tp - t[..., None] * p / number[..., None]) / spread[..., None]
    squares = pp - (p**2).sum(axis=-1) / number - (slope**2).sum(axis=-1) * spread
    return np.asarray(np.maximum(squares, 0))


def _piece(frames: Floats, points: Floats, first: int, last: int) -> Piece:
    times, places = frames[first : last + 1], points[first : last + 1]
    centred = times - times.mean()
    spread = float((centred**2).sum())
    step = (centred[:, None] * places).sum(axis=0) / spread if spread else np.zeros(2)
    return Piece(first, last, places.mean(axis=0) - times.mean() * step, step)


def break_frame(one: Piece, other: Piece) -> float | None:
    """The frame at which two pieces come nearest to each other, None where their velocities are equal."""
    turn = other.step - one.step
    square = float(turn @ turn)
    return float((one.origin - other.origin) @ turn / square) if square > 1e-12 else None


def fall(frames: Floats, points: Floats, side: int, fps: float) -> Fall | None:
    """A fall from rest under constant acceleration, with its rebounds, if the points (n, 2) are one."""
    if len(frames) < 5 or np.ptp(points[:, 0]) > _FALL_SPREAD * side:
        return None
    heights = points[:, 1]
    turns = _turns(heights, _TURN * side)
    if turns and turns[0] < 4:
        return None
    # A bounce that loses nothing, or gains, is no fall of this world.
    if turns and heights[turns[0] :].min() < heights[0] + _TURN * side:
        return None
    end = turns[0] if turns else len(frames)
    # What has landed lies still: only the flight is fitted.
    flying = np.flatnonzero(np.diff(heights[:end]) > 0.3 * np.diff(heights[:end]).max()) + 1
    end = min(end, int(flying[-1]) + 1) if len(flying) else end
    times = frames[:end] - frames[0]
    if len(times) < 4:
        return None
    quadratic, linear = (np.polyfit(times, heights[:end], degree) for degree in (2, 1))
    misses = [float(((np.polyval(fit, times) - heights[:end]) ** 2).sum()) for fit in (linear, quadratic)]
    bend, start = float(quadratic[0]), float(quadratic[1])
    sag = bend * float(times[-1]) ** 2 / 4
    from_rest = abs(start) <= _FALL_START * 2 * bend * float(times[-1])
    noise = len(times) * (0.05 * point_error(side)) ** 2
    if sag < _FALL_SAG * side or misses[0] < _FALL_GAIN * (misses[1] + noise) or not from_rest:
        return None
    return Fall(2 * bend * fps**2, tuple(float(frames[turn]) for turn in turns), len(turns))


def _turns(heights: Floats, least: float) -> list[int]:
    """Where a value that grows at first turns back by more than `least`, again and again: places of its peaks."""
    found: list[int] = []
    peak, trough, rising = 0, 0, True
    for place, value in enumerate(heights):
        if rising:
            peak = place if value >= heights[peak] else peak
            if value < heights[peak] - least:
                found.append(peak)
                rising, trough = False, place
        else:
            trough = place if value <= heights[trough] else trough
            if value > heights[trough] + least:
                rising, peak = True, place
    return found
