"""Intervals over clips, since clips are what was drawn at random: Wilson's for shares, the bootstrap for all else.

A percentile bootstrap (Efron 1979, doi:10.1214/aos/1176344552) of clips that are all right has no width, as if nothing
could ever go wrong. Wilson's interval (1927, doi:10.1080/01621459.1927.10502953) has one: 32 of 32 clips show that 89 %
are right. Attributes of one clip go wrong together, so whole clips are drawn anew, and counted, and never single
answers.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from kinema_evaluation.errors import MeasureError
from kinema_evaluation.report import Score
from kinema_model.rng import RngStream, generator

Floats = npt.NDArray[np.float64]

LEVEL: Final = 0.95
# The normal quantile of that level.
_Z: Final = 1.959963984540054
_RESAMPLES: Final = 1000
# Distances between sets take longer than means.
_RESAMPLES_OF_SETS: Final = 200


def share(right: Sequence[float], asked: Sequence[float]) -> Score | None:
    """Sum of `right` over sum of `asked`, one entry of each per clip, with its interval; None where nothing was asked.

    Where every entry of `right` lies between 0 and that of `asked`, this is a proportion and has Wilson's interval.

    Raises:
        MeasureError: the two differ in length.
    """
    if len(right) != len(asked):
        raise MeasureError(f"{len(right)} clips were marked and {len(asked)} asked. Give one entry of each per clip.")
    there = [(float(r), float(a)) for r, a in zip(right, asked, strict=True) if a > 0]
    if not there:
        return None
    marks = np.array(there)
    if np.all((marks[:, 0] >= 0) & (marks[:, 0] <= marks[:, 1])):
        return _proportion(marks)
    return _resampled(marks)


def _resampled(marks: Floats) -> Score:
    drawn = marks[_picks(len(marks))].sum(axis=1)
    return _score(float(marks[:, 0].sum() / marks[:, 1].sum()), drawn[:, 0] / drawn[:, 1], len(marks))


def _proportion(marks: Floats) -> Score:
    """Wilson's interval of a share of marks (n, 2), right and asked.

    The sample size is that of as many independent answers as tell as much (Korn and Graubard 1998), at most the number
    of clips: answers of one clip say less than those of several.
    """
    clips = len(marks)
    value = float(marks[:, 0].sum() / marks[:, 1].sum())
    rest = (marks[:, 0] - value * marks[:, 1]) / marks[:, 1].mean()
    variance = float((rest**2).mean() / clips)
    size = min(clips, value * (1 - value) / variance) if variance > 0 else clips
    low, high = wilson(value, size)
    return Score(value=value, low=min(low, value), high=max(high, value), clips=clips)


def wilson(value: float, size: float) -> tuple[float, float]:
    """Bounds in [0, 1] of a proportion `value` that was found among `size` independent answers."""
    middle = value + _Z**2 / (2 * size)
    half = _Z * math.sqrt(max(0.0, value * (1 - value) / size + _Z**2 / (4 * size**2)))
    whole = 1 + _Z**2 / size
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


def distance(one: Floats, other: Floats, measure: Callable[[Floats, Floats], float], least: float = -math.inf) -> Score:
    """A distance between two sets of features (n, D) and (m, D) with its interval; both sets are drawn anew.

    A set that is drawn anew repeats rows, which moves every distance. So the interval takes the spread of the resamples
    and not their place, and ends at `least`. Raises what `measure` raises.
    """
    value = measure(one, other)
    picks = zip(_picks(len(one), 2)[:_RESAMPLES_OF_SETS], _picks(len(other), 3)[:_RESAMPLES_OF_SETS], strict=True)
    drawn = np.array([measure(one[mine], other[theirs]) for mine, theirs in picks])
    return _score(value, np.maximum(drawn - drawn.mean() + value, least), len(one))


def mean(values: Sequence[float]) -> Score | None:
    """The mean of one value per clip with its interval, Wilson's of values in [0, 1]; None of no clips."""
    return share(values, [1.0] * len(values))


def difference(values: Sequence[float]) -> Score | None:
    """The mean of one difference per clip with its interval, which is no proportion; None of no clips."""
    return _resampled(np.array([(value, 1.0) for value in values])) if len(values) else None


def median(values: Sequence[float]) -> Score | None:
    """The median of one value per clip with its interval; None of no clips."""
    if not len(values):
        return None
    known = np.asarray(values, dtype=np.float64)
    return _score(float(np.median(known)), np.median(known[_picks(len(known))], axis=1), len(known))


def ratio_of_means(values: Sequence[float], reference: Sequence[float], least: float) -> Score | None:
    """Mean of `values` over the mean of `reference`, which counts as `least` where it is less; both drawn anew."""
    if not len(values) or not len(reference):
        return None
    above, below = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    drawn = above[_picks(len(above))].mean(axis=1) / np.maximum(below[_picks(len(below), 1)].mean(axis=1), least)
    return _score(float(above.mean() / max(float(below.mean()), least)), drawn, len(above))


def _picks(count: int, which: int = 0) -> npt.NDArray[np.int64]:
    """Clips of each resample (R, count): the same ones whenever so many clips are measured."""
    return generator(RngStream.BOOTSTRAP, which, count).integers(count, size=(_RESAMPLES, count))


def _score(value: float, drawn: Floats, clips: int) -> Score:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    # Interpolated quantiles of equal numbers may differ from them in the last digit.
    return Score(value=value, low=min(float(low), value), high=max(float(high), value), clips=clips)
