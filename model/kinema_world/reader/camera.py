"""The motion of the camera over the background, from the registration of frames where no object is.

The mean squared difference of two frames at every shift comes from three Fourier transforms. Shifts are followed
over longer and longer spans of time, each predicted by the one before, so that slow pans are measured as well.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from kinema_world.reader.layers import Mask
from kinema_world.vocabulary import FloatArray

Floats = npt.NDArray[np.float64]

# Background that differs from its plain colour by this much is scenery; less of it than this share tells nothing.
_SCENERY: Final = 40.0
_LEAST_SCENERY: Final = 0.02
# The furthest shift between two frames, in shares of the shorter side.
_FURTHEST: Final = 0.22
# Frames must overlap by this share, and agree better than by chance.
_LEAST_OVERLAP: Final = 0.3
_FURTHEST_SPAN: Final = 0.55
_WORST_MATCH: Final = 0.4
_PAIRS: Final = 4
# Over the whole shot, in shares of the shorter side: less is no pan.
_LEAST_TRAVEL: Final = 0.03


def scenery_of(pixels: FloatArray, base: FloatArray, objects: Mask) -> bool:
    """Whether there is more behind the objects than the plain colour `base`.

    `pixels` float (T, H, W, 3) over `base` (3,); `objects` (T, H, W) are pixels to leave out.
    """
    there = (np.linalg.norm(pixels - base, axis=-1) > _SCENERY) & ~objects
    return bool(there.mean() >= _LEAST_SCENERY)


def camera_step(pixels: FloatArray, base: FloatArray, objects: Mask) -> tuple[float, float] | None:
    """Motion of the view in px per frame as (columns, rows); (0, 0) where the background stands still.

    `pixels` float (T, H, W, 3) over a plain colour `base`; `objects` (T, H, W) are pixels to leave out. None where
    frames do not match at any shift.
    """
    if len(pixels) < 2:
        return 0.0, 0.0
    light = (pixels - base).sum(axis=-1)
    weights = (~objects).astype(np.float32)
    side = min(light.shape[1:])
    last = len(light) - 1
    if _still(light, weights):
        return 0.0, 0.0
    span, step, reach = 1, np.zeros(2), _FURTHEST * side
    while True:
        # Several pairs, since where an edge falls between pixels biases each a little.
        starts = np.unique(np.linspace(0, last - span, _PAIRS).astype(int))
        shifts = [_shift(light[a], light[a + span], weights[a], weights[a + span], step * span, reach) for a in starts]
        known = [shift for shift in shifts if shift is not None]
        if not known:
            return None if span == 1 else _step(step, last, side)
        step = np.mean(known, axis=0) / span
        longer = min(2 * span, last)
        if longer == span or np.any(np.abs(step * longer) > _FURTHEST_SPAN * np.array(light.shape[:0:-1])):
            return _step(step, last, side)
        span, reach = longer, 2.0 + 0.05 * side


def _step(step: Floats, last: int, side: int) -> tuple[float, float]:
    if np.linalg.norm(step) * last < _LEAST_TRAVEL * side:
        return 0.0, 0.0
    return float(step[0]), float(step[1])


def _still(light: FloatArray, weights: FloatArray) -> bool:
    """Whether the first and the last frame agree as they lie, which repeating patterns do at other shifts too."""
    both = weights[0] * weights[-1]
    difference = float(((light[0] - light[-1]) ** 2 * both).sum())
    variance = float((both * (light[0] - (light[0] * both).sum() / max(both.sum(), 1)) ** 2).sum())
    return difference < 0.25 * variance


def _shift(
    first: FloatArray, second: FloatArray, w1: FloatArray, w2: FloatArray, about: Floats, reach: float
) -> Floats | None:
    """How far (columns, rows) the view went between two frames (H, W), searched within `reach` of a prediction."""
    height, width = first.shape
    errors, overlaps = _differences(first, second, w1, w2)
    down = np.fft.fftfreq(2 * height, 1 / (2 * height))[:, None]
    across = np.fft.fftfreq(2 * width, 1 / (2 * width))[None]
    allowed = (np.abs(across - about[0]) <= reach) & (np.abs(down - about[1]) <= reach)
    allowed &= overlaps > _LEAST_OVERLAP * height * width * float(w1.mean() * w2.mean())
    if not allowed.any():
        return None
    flat = int(np.where(allowed, errors, np.inf).argmin())
    row, column = divmod(flat, 2 * width)
    # The least value at the border of the search is no minimum.
    rows, columns = (row - 1, (row + 1) % (2 * height)), (column - 1, (column + 1) % (2 * width))
    if not (allowed[rows, column].all() and allowed[row, columns].all()):
        return None
    variance = float(np.average((first - np.average(first, weights=w1)) ** 2, weights=w1))
    if errors[row, column] > _WORST_MATCH * 2 * variance:
        return None
    return np.array(
        [
            across[0, column] + _vertex(errors[row, [column - 1, column, (column + 1) % (2 * width)]]),
            down[row, 0] + _vertex(errors[[row - 1, row, (row + 1) % (2 * height)], column]),
        ]
    )


def _differences(first: FloatArray, second: FloatArray, w1: FloatArray, w2: FloatArray) -> tuple[Floats, Floats]:
    """Mean squared difference and overlap in pixels for every shift of the view, (2H, 2W) in the order of the FFT."""
    size = (2 * first.shape[0], 2 * first.shape[1])

    def seen(image: FloatArray) -> npt.NDArray[np.complex128]:
        return np.asarray(np.fft.rfft2(image.astype(np.float64), size))

    def together(a: npt.NDArray[np.complex128], b: npt.NDArray[np.complex128]) -> Floats:
        return np.asarray(np.fft.irfft2(a * b.conj(), size))

    one, two = seen(w1), seen(w2)
    overlaps = together(one, two)
    squares = (
        together(seen(w1 * first**2), two)
        + together(one, seen(w2 * second**2))
        - 2 * together(seen(w1 * first), seen(w2 * second))
    )
    return squares / np.maximum(overlaps, 1), overlaps


def _vertex(values: Floats) -> float:
    """Where a parabola through three values at -1, 0 and 1 is lowest."""
    left, middle, right = (float(value) for value in values)
    bend = left - 2 * middle + right
    return float(np.clip((left - right) / (2 * bend), -0.5, 0.5)) if bend > 0 else 0.0
