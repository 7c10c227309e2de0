"""The section shots: truth keeps what comes back, and each way of losing it is told in its own row."""

from dataclasses import replace

import numpy as np
import pytest

from kinema_evaluation import EvaluationPlan, Report, Section, evaluate
from kinema_evaluation.plan import NEW_COMBINATIONS, SEEN
from kinema_evaluation.shots import (
    COLOUR,
    CONSTANT,
    EVERYTHING,
    FIRST,
    KEPT,
    LAWFUL,
    NEW,
    SECOND,
    SHAPE,
    SIZE,
    prompts_of,
)
from kinema_world import Scene, SceneKind, Video, WorldConfig
from unit.evaluation.pretenders import Lie, Pretender, Spoil, config_of, frozen, streaming_config

pytestmark = pytest.mark.slow


TWO_SHOT = WorldConfig(kinds={SceneKind.TWO_SHOT: 1.0})


def _report(known: list[Scene], lie: Lie | None = None, spoil: Spoil | None = None, clips: int = 24) -> Report:
    plan = EvaluationPlan(clips=clips, world=TWO_SHOT, sections=("shots",))
    return evaluate(Pretender(known, streaming_config(frames=24), lie, spoil), plan)


def _section(known: list[Scene], lie: Lie | None = None, spoil: Spoil | None = None) -> Section:
    return _report(known, lie, spoil).sections["shots"]


def _changed(scene: Scene, **appearance: object) -> Scene:
    """The recurring object with another look in the second shot."""
    first, second = scene.shots
    thing, *others = second.tracks
    other = replace(thing, appearance=replace(thing.appearance, **appearance))
    return replace(scene, shots=(first, replace(second, tracks=(other, *others))))


def _other_colour(scene: Scene) -> Scene:
    used = {track.appearance.colour for track in scene.tracks}
    return _changed(scene, colour=next(c for c in ("red", "green", "blue", "yellow", "magenta") if c not in used))


def _other_shape(scene: Scene) -> Scene:
    shape = scene.shots[0].tracks[0].appearance.shape
    return _changed(scene, shape="circle" if shape == "square" else "square")


def _other_size(scene: Scene) -> Scene:
    radius = scene.shots[0].tracks[0].appearance.radius
    small = radius < 0.15 * scene.shape.side
    return _changed(scene, radius=radius * 1.3 if small else radius / 1.3)


def test_truth_keeps_everything(known: list[Scene]) -> None:
    section = _section(known)
    for group in (SEEN, NEW_COMBINATIONS):
        for name in (EVERYTHING, FIRST, SECOND, KEPT, COLOUR, SHAPE, SIZE, LAWFUL, NEW):
            row = section.row(name, group)
            assert row.score == row.floor
            assert row.score.value >= 0.8, name
            if row.ignoring is not None:
                assert not row.void
                assert row.controls[CONSTANT].value < 0.8
        for name in (EVERYTHING, KEPT):
            row = section.row(name, group)
            assert row.ignoring is not None
            assert max(row.ignoring.value, row.controls[CONSTANT].value) < 0.4
    asked = {prompts_of(scene) for scene in known}
    assert section.sheets
    assert all(tuple(shown.label for shown in sheet.shown) in asked for sheet in section.sheets)


@pytest.mark.parametrize(
    ("lie", "wrong", "still_right"),
    [
        (_other_colour, (COLOUR, SHAPE, SIZE, SECOND, KEPT), (FIRST,)),
        (_other_shape, (SHAPE, SECOND, KEPT), (FIRST, COLOUR)),
        (_other_size, (SIZE, KEPT), (FIRST, COLOUR, SHAPE)),
    ],
)
def test_what_comes_back_changed_is_told(
    known: list[Scene], lie: Lie, wrong: tuple[str, ...], still_right: tuple[str, ...]
) -> None:
    section = _section(known, lie)
    for name in (*wrong, EVERYTHING):
        assert section.row(name, SEEN).score.value <= 0.2, name
    for name in still_right:
        assert section.row(name, SEEN).score.value >= 0.8, name


def _only_the_first(clip: Video) -> Video:
    """The beginning for ever: the second prompt is not heard."""
    return frozen(clip)


def _reversed(clip: Video) -> Video:
    return np.ascontiguousarray(clip[::-1])


def _jolting(clip: Video) -> Video:
    """Only every fourth frame is shown: objects stop and go."""
    return clip[np.arange(len(clip)) // 4 * 4]


def test_streams_that_are_not_lawful_or_not_new_are_told(known: list[Scene]) -> None:
    assert _section(known, None, _jolting).row(LAWFUL, SEEN).score.value <= 0.5
    assert _section(known, None, _only_the_first).row(NEW, SEEN).score.value == 0.0


def test_prompts_do_not_tell_what_must_be_kept(known: list[Scene]) -> None:
    _report(known, clips=8)
    for scene in known:
        appearance = scene.shots[0].tracks[0].appearance
        assert f"{appearance.colour} {appearance.shape}" not in prompts_of(scene)[1]


@pytest.mark.parametrize("spoil", [_only_the_first, _reversed])
def test_shots_that_do_not_follow_their_prompts_are_told(known: list[Scene], spoil: Spoil) -> None:
    section = _section(known, None, spoil)
    assert section.row(EVERYTHING, SEEN).score.value <= 0.2
    assert section.row(SECOND, SEEN).score.value <= 0.4


def test_models_that_cannot_are_named(known: list[Scene]) -> None:
    plan = EvaluationPlan(clips=8, world=TWO_SHOT, sections=("shots",))
    assert "not trained to stream" in evaluate(Pretender(known, config_of()), plan).absent["shots"]
    single = plan.model_copy(update={"world": WorldConfig(kinds={SceneKind.SEVERAL: 1.0})})
    assert "no scenes of two shots" in evaluate(Pretender(known, streaming_config()), single).absent["shots"]
