"""Every clip has one verdict, every drop a reason that names the threshold, and counts add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kinema_dataset.errors import ThresholdsError
from kinema_dataset.records import KEPT, Bars, Filter, InputFile, Scores, Segment, Verdict, dropped
from kinema_dataset.thresholds import DEFAULTS, Thresholds, summary, verdict

GOOD = Scores(motion=0.01, stillness=0.0, sharpness=0.6, brightness=0.5, text=0.0, letterbox=0.0)
share = st.floats(0, 1)
scores = st.builds(
    Scores,
    motion=st.floats(0, 2),
    stillness=share,
    sharpness=share,
    brightness=share,
    text=share,
    letterbox=share,
    bars=st.just(Bars()),
)


def test_a_good_clip_is_kept() -> None:
    assert verdict(GOOD, 25) == KEPT


@pytest.mark.parametrize(
    ("field", "value", "by", "threshold"),
    [
        ("letterbox", 0.6, Filter.LETTERBOX, "max_letterbox"),
        ("brightness", 0.01, Filter.BRIGHTNESS, "min_brightness"),
        ("brightness", 0.99, Filter.BRIGHTNESS, "max_brightness"),
        ("stillness", 0.9, Filter.STILLNESS, "max_stillness"),
        ("motion", 0.0, Filter.MOTION, "min_motion"),
        ("motion", 0.9, Filter.MOTION, "max_motion"),
        ("sharpness", 0.01, Filter.SHARPNESS, "min_sharpness"),
        ("text", 0.2, Filter.TEXT, "max_text"),
    ],
)
def test_a_score_out_of_bounds_drops_with_value_and_threshold(
    field: str, value: float, by: Filter, threshold: str
) -> None:
    found = verdict(GOOD.model_copy(update={field: value}), 25)
    assert found.filter == by
    assert found.reason is not None
    assert threshold in found.reason
    assert f"{value:.4g}" in found.reason
    assert hasattr(DEFAULTS, threshold)


def test_a_short_clip_is_dropped_for_its_length_first() -> None:
    found = verdict(GOOD.model_copy(update={"motion": 0.0}), 3)
    assert (found.filter, found.reason) == (Filter.LENGTH, "3 frames, shorter than 8 (min_frames)")


def test_a_picture_need_not_move() -> None:
    still = GOOD.model_copy(update={"motion": 0.0, "stillness": 1.0})
    assert verdict(still, 1, Thresholds(min_frames=1)) == KEPT
    assert verdict(still, 2, Thresholds(min_frames=1)).filter == Filter.STILLNESS


@given(st.lists(st.tuples(scores, st.integers(1, 40)), max_size=20))
def test_nothing_is_dropped_in_silence(clips: list[tuple[Scores, int]]) -> None:
    verdicts = [verdict(*clip) for clip in clips]
    assert sum(summary(verdicts).values()) == len(clips)
    assert all(one.kept == (one.reason is None) for one in verdicts)


@given(scores, st.integers(1, 40))
def test_thresholds_that_refuse_nothing_keep_everything(one: Scores, frames: int) -> None:
    open_to_all = Thresholds(1, 1, 0, 1, 1, 0, 3, 0, 1)
    assert verdict(one, frames, open_to_all) == KEPT


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_frames": 0}, "min_frames must be at least 1"),
        ({"max_text": 1.5}, "max_text must be from 0 to 1"),
        ({"min_motion": 0.5}, "less than max_motion"),
        ({"min_brightness": 0.96}, "less than max_brightness"),
    ],
)
def test_thresholds_out_of_bounds_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ThresholdsError, match=message):
        Thresholds(**fields)  # type: ignore[arg-type]


def test_records_survive_json_and_refuse_what_is_not_theirs() -> None:
    segment = Segment(input="s3://b/a.mp4", first=3, end=9, fps=25, height=36, width=64)
    assert Segment.model_validate_json(segment.model_dump_json()) == segment
    assert segment.frames == 6
    assert Scores.model_validate_json(GOOD.model_dump_json()) == GOOD
    with pytest.raises(ValidationError, match="at least one frame"):
        Segment(input="s3://b/a.mp4", first=9, end=9, fps=25, height=36, width=64)
    with pytest.raises(ValidationError, match="extra"):
        InputFile.model_validate({"uri": "s3://b/a", "etag": "1", "bytes": 1, "owner": "x"})
    with pytest.raises(ValidationError, match="both a reason and a filter"):
        Verdict(kept=False)
    with pytest.raises(ValidationError, match="finite"):
        Scores.model_validate(GOOD.model_dump() | {"motion": float("nan")})
    assert dropped(Filter.TEXT, "because").filter == "text"


def test_bars_cover_their_share() -> None:
    assert Bars().share(10, 20) == 0
    assert Bars(top=1, bottom=1, left=5, right=5).share(10, 20) == pytest.approx(0.6)
    assert Bars(top=10).share(10, 20) == 1
