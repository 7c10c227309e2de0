"""Intervals: they hold the figure, shrink with the number of clips, and depend on the clips alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_evaluation import bootstrap
from kinema_evaluation.distances import frechet
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


@pytest.mark.parametrize(
    ("right", "clips", "low", "high"),
    # Newcombe (1998), doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_shares_have_the_interval_of_wilson(right: int, clips: int, low: float, high: float) -> None:
    score = bootstrap.mean([1.0] * right + [0.0] * (clips - right))
    assert score is not None
    assert (score.low, score.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_clips_that_all_agree_leave_room(value: float) -> None:
    score = bootstrap.share([3 * value] * 32, [3.0] * 32)
    assert score is not None
    assert score.low is not None
    assert score.high is not None
    assert score.high - score.low == pytest.approx(1 - 32 / (32 + 1.96**2), abs=1e-4)


def test_answers_of_one_clip_are_not_as_many_clips() -> None:
    alike = bootstrap.share([4.0] * 10 + [0.0] * 10, [4.0] * 20)
    assert alike == bootstrap.mean([1.0] * 10 + [0.0] * 10)


def test_distances_of_sets_have_an_interval_that_holds_them() -> None:
    draw = np.random.default_rng(0)
    one, near, far = draw.normal(0, 1, (64, 4)), draw.normal(0, 1, (64, 4)), draw.normal(2, 1, (64, 4))
    same, apart = bootstrap.distance(one, near, frechet), bootstrap.distance(one, far, frechet)
    assert same.value == frechet(one, near)
    assert (same.high or 0) < (apart.low or 0)
    for score in (same, apart):
        assert (score.low or 0) < score.value < (score.high or 0)
    assert same == bootstrap.distance(one, near, frechet)


def test_more_clips_say_more() -> None:
    few, many = (bootstrap.mean([0.0, 1.0] * n) for n in (10, 200))
    assert few is not None
    assert many is not None
    assert (many.high or 0) - (many.low or 0) < 0.4 * ((few.high or 0) - (few.low or 0))


def test_clips_that_were_not_all_marked_are_refused() -> None:
    with pytest.raises(MeasureError, match="one entry of each per clip"):
        bootstrap.share([1.0], [1.0, 1.0])
