"""Intervals: they hold the figure, shrink with the number of clips, and depend on the clips alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_evaluation import bootstrap
from kinema_evaluation.errors import MeasureError

marks = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)).map(lambda m: (min(m), max(m))), max_size=60)


@given(marks)
def test_an_interval_holds_its_figure_within_what_is_possible(clips: list[tuple[int, int]]) -> None:
    score = bootstrap.share([right for right, _ in clips], [asked for _, asked in clips])
    asked = sum(of for _, of in clips)
    if asked == 0:
        assert score is None
        return
    assert score is not None
    assert score.low is not None
    assert score.high is not None
    assert score.value == pytest.approx(sum(right for right, _ in clips) / asked)
    assert 0 <= score.low <= score.value <= score.high <= 1
    assert score.clips == sum(of > 0 for _, of in clips)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40))
def test_medians_and_ratios_lie_in_their_intervals(values: list[float]) -> None:
    middle = bootstrap.median(values)
    assert middle is not None
    assert middle.low is not None
    assert middle.high is not None
    assert min(values) <= middle.low <= middle.value <= middle.high <= max(values)
    again = bootstrap.median(values)
    assert again == middle
    same = bootstrap.ratio_of_means([abs(v) + 1 for v in values], [abs(v) + 1 for v in values], 0.1)
    assert same is not None
    assert same.value == pytest.approx(1)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        score = bootstrap.mean(list(draw.random(60) < 0.7))
        assert score is not None
        assert score.low is not None
        assert score.high is not None
        held += score.low <= 0.7 <= score.high
    assert held / 200 == pytest.approx(bootstrap.LEVEL, abs=0.04)


def test_more_clips_say_more() -> None:
    few, many = (bootstrap.mean([0.0, 1.0] * n) for n in (10, 200))
    assert few is not None
    assert many is not None
    assert (many.high or 0) - (many.low or 0) < 0.4 * ((few.high or 0) - (few.low or 0))


def test_clips_that_were_not_all_marked_are_refused() -> None:
    with pytest.raises(MeasureError, match="one entry of each per clip"):
        bootstrap.share([1.0], [1.0, 1.0])
