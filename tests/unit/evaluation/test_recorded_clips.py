"""Measures of recorded clips: true clips pass them, and every model that only looks like one in some way is told."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from kinema_evaluation import EvaluationPlan, Report, evaluate
from kinema_evaluation.plan import RECORDED, SECTIONS
from kinema_evaluation.recorded import copies, dynamics, likeness, retrieval
from kinema_evaluation.recorded.controls import MEAN, OTHER_CAPTION, PASTED, SHUFFLED, STILL, WORSE, mean_clip, still
from kinema_evaluation.recorded.features import FeatureSpace
from kinema_model.conditions.tasks import Task
from kinema_model.source import Clip
from kinema_world import Video
from unit.evaluation.filmed import FRAMES, SIDE, Draws, of_any, of_caption, of_training, pieces, recorded
from unit.evaluation.pretenders import Pretender, config_of

pytestmark = pytest.mark.slow

CONFIG = config_of(FRAMES, SIDE, SIDE)
Choose = Callable[[str, int], Clip]


def _same(clip: Video) -> Video:
    return clip


def _report(choose: Choose, spoil: Callable[[Video], Video], *sections: str, held_out_by: str = "input") -> Report:
    plan = EvaluationPlan(clips=32, sections=sections)
    return evaluate(Draws(CONFIG, choose, spoil), plan, recorded=recorded(held_out_by))  # type: ignore[arg-type]


@cache
def _truth() -> Report:
    return _report(of_caption, _same, *RECORDED)


def test_true_clips_are_found_by_their_captions_and_controls_are_not() -> None:
    section = _truth().sections["retrieval"]
    row = section.row(retrieval.FIRST)
    assert row.floor is not None
    assert row.chance is not None
    assert row.score.value >= row.floor.value - 0.1 >= 0.5
    for control in (OTHER_CAPTION, MEAN, PASTED):
        assert row.controls[control].value < 0.35
    assert row.controls[STILL].value < row.floor.value
    any_caption = _report(of_any, _same, "retrieval").sections["retrieval"].row(retrieval.FIRST)
    assert any_caption.score.high is not None
    assert any_caption.score.value < 0.3
    assert any_caption.score.high < (row.score.low or 0)


def test_true_clips_move_like_true_clips_and_controls_do_not() -> None:
    section = _truth().sections["dynamics"]
    row = section.row(dynamics.ALL, dynamics.AGREEMENT)
    assert row.score.value >= 0.75
    assert row.floor is not None
    assert row.floor.value >= 0.7
    assert all(row.controls[control].value < 0.4 for control in (STILL, SHUFFLED, MEAN))


@pytest.mark.parametrize(
    "spoil", [still, lambda clip: clip[::2].repeat(2, axis=0), lambda clip: WORSE["noise"](clip, 0.7, 1)]
)
def test_stills_stutter_and_noise_are_told(spoil: Callable[[Video], Video]) -> None:
    section = _report(of_caption, spoil, "dynamics").sections["dynamics"]
    assert section.row(dynamics.ALL, dynamics.AGREEMENT).score.value < 0.5


def test_distances_grow_as_clips_get_worse_and_hold_their_intervals() -> None:
    section = _truth().sections["likeness"]
    assert {curve.across for curve in section.curves} == {*WORSE, likeness.OTHER_SOURCE}
    assert all(curve.y[-1] > curve.y[0] for curve in section.curves)
    assert not any("Not to be trusted" in remark for remark in section.remarks)
    for row in section.rows:
        assert row.score.low is not None
        assert row.score.high is not None
        assert row.score.low <= row.score.value <= row.score.high
        assert min(row.controls[control].value for control in (STILL, MEAN)) > row.score.high


def test_a_model_that_repeats_its_training_is_found_out() -> None:
    assert _truth().sections["copies"].row(copies.RATIO).reached
    repeats = _report(of_training, _same, "copies")
    row = repeats.sections["copies"].row(copies.RATIO)
    assert row.controls[PASTED].value < 0.05
    assert row.floor is not None
    assert row.floor.value > 0.8


def test_what_does_not_apply_is_named() -> None:
    report = _report(of_caption, _same, *SECTIONS)
    assert set(report.sections) == set(RECORDED) - {"validation"}
    assert "network" in report.absent["validation"]
    assert all("synthetic world" in report.absent[name] for name in SECTIONS if name not in RECORDED)
    assert report.subject.world is None
    assert report.subject.recorded


def test_models_without_recorded_clips_or_words_are_named() -> None:
    plan = EvaluationPlan(clips=4, sections=RECORDED)
    assert all("--dataset" in why for why in evaluate(Pretender([], CONFIG), plan).absent.values())
    fills = Pretender([], config_of(FRAMES, SIDE, SIDE, (Task.FILL,)))
    report = evaluate(fills, plan, recorded=recorded())
    assert all("words alone" in report.absent[name] for name in RECORDED if name != "validation")


def test_clips_that_were_not_held_out_are_named() -> None:
    report = _report(of_caption, _same, "copies", "dynamics", held_out_by="nothing")
    assert "Nothing could be held out" in report.absent["copies"]
    assert any("flatters" in remark for remark in report.sections["dynamics"].remarks)


def test_features_of_one_video_are_nearer_than_of_another() -> None:
    clips = [clip.video.numpy() for clip in pieces()]
    rows = FeatureSpace.of(clips, 16).standard(clips)
    names = np.array([clip.captions.short.split(",")[0] for clip in pieces()])
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=2) + np.eye(len(rows)) * 1e9
    assert np.mean(names[apart.argmin(axis=1)] == names) > 0.9


def test_the_mean_of_clips_is_one_of_them_for_equal_clips() -> None:
    clip = pieces()[0].video.numpy()
    assert np.array_equal(mean_clip([clip, clip]), clip)
