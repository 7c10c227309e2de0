"""Percentile bootstrap intervals over clips, since clips are what was drawn at random.

Efron (1979), doi:10.1214/aos/1176344552. Attributes of one clip go wrong together, so whole clips are drawn anew and
never single answers.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from kinema_evaluation.errors import MeasureError
from kinema_evaluation.report import Score
from kinema_model.rng import RngStream, generator

Floats = npt.NDArray[np.float64]

LEVEL: Final = 0.95
_RESAMPLES: Final = 1000


def share(right: Sequence[float], asked: Sequence[float]) -> Score | None:
    """Sum of `right` over sum of `asked`, one entry of each per clip, with its interval; None where nothing was asked.

    Raises:
        MeasureError: the two differ in length.
    """
    if len(right) != len(asked):
        raise MeasureError(f"{len(right)} clips were marked and {len(asked)} asked. Give one entry of each per clip.")
    there = [(float(r), float(a)) for r, a in zip(right, asked, strict=True) if a > 0]
    if not there:
        return None
    marks = np.array(there)
    drawn = marks[_picks(len(marks))].sum(axis=1)
    return _score(float(marks[:, 0].sum() / marks[:, 1].sum()), drawn[:, 0] / drawn[:, 1], len(marks))


def mean(values: Sequence[float]) -> Score | None:
    """The mean of one value per clip with its interval; None of no clips."""
    return share(values, [1.0] * len(values))


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
