"""Permanence: what comes back as it went in scores 1, and every way of losing it scores 0 in its own row."""

from dataclasses import replace

import numpy as np
import pytest

from kinema_evaluation import EvaluationPlan, Report, Section, evaluate
from kinema_evaluation.permanence import (
    ALWAYS_PRESENT,
    EVERYTHING,
    EXTRAPOLATED,
    SPLICED,
    cases_of,
    hidden,
    judge,
    spliced,
)
from kinema_evaluation.plan import SEEN
from kinema_model.conditions.tasks import Task
from kinema_world import Scene, SceneKind, ShapeMix, World, WorldConfig
from unit.evaluation.pretenders import EVERY_TASK, Lie, Pretender, Spoil, config_of, frozen, recoloured, with_looks

pytestmark = pytest.mark.slow


OCCLUDE = WorldConfig(split="all", kinds={SceneKind.OCCLUDE: 1.0})


def _report(
    known: list[Scene],
    lie: Lie | None = None,
    spoil: Spoil | None = None,
    *,
    tasks: tuple[Task, ...] = EVERY_TASK,
    world: WorldConfig = OCCLUDE,
    frames: int = 32,
) -> Report:
    plan = EvaluationPlan(clips=48, world=world, sections=("permanence",))
    return evaluate(Pretender(known, config_of(frames, tasks=tasks), lie, spoil), plan)


def _of_length(*frames: int) -> WorldConfig:
    return OCCLUDE.model_copy(update={"shapes": ShapeMix(frames=frames, sides=(32, 32))})


def _section(known: list[Scene], lie: Lie | None = None, spoil: Spoil | None = None) -> Section:
    return _report(known, lie, spoil).sections["permanence"]


def _gone_for_good(scene: Scene) -> Scene:
    return replace(scene, shots=(replace(scene.shots[0], tracks=()),))


def _hurried(scene: Scene) -> Scene:
    """Comes out much too early."""
    (track,) = scene.shots[0].tracks
    path = track.positions + np.linspace(0, 0.6, len(track.positions))[:, None] * (
        track.positions[-1] - track.positions[0]
    )
    return replace(scene, shots=(replace(scene.shots[0], tracks=(replace(track, positions=path),)),))


def _turned_back(scene: Scene) -> Scene:
    (track,) = scene.shots[0].tracks
    half = len(track.positions) // 2
    path = np.concatenate((track.positions[:half], track.positions[half - 1 :: -1]))
    return replace(scene, shots=(replace(scene.shots[0], tracks=(replace(track, positions=path),)),))


def test_truth_scores_one_and_the_rules_fall_short_where_they_should(known: list[Scene]) -> None:
    section = _section(known)
    assert all(row.score.value == 1.0 for row in section.rows)
    row = section.row(EVERYTHING, SEEN)
    assert row.floor is not None
    assert row.floor.value == 1.0
    assert row.controls[ALWAYS_PRESENT].value == 0.0
    assert 0.2 <= row.controls[EXTRAPOLATED].value < 1.0
    assert row.controls[SPLICED].value < 0.3
    for row in section.rows:
        assert row.ignoring is not None
        # Headings are shared by one in four, and sizes hardly differ in a square frame.
        assert row.ignoring.value < 0.5 or row.void
    assert not section.row("colour", SEEN).void


@pytest.mark.parametrize(("frames", "fps"), [(32, 8), (48, 24), (64, 24)])
def test_hiding_differs_in_moment_length_and_place(frames: int, fps: int) -> None:
    shapes = ShapeMix.fixed(frames, 64, 64, fps)
    world = World(WorldConfig(split="all", kinds={SceneKind.OCCLUDE: 1.0}, shapes=shapes))
    cases = cases_of([world.scene(index) for index in range(60)], 40)
    assert len(cases) >= 20
    times = np.array([(case.gone, case.back - case.gone) for case in cases]) / frames
    assert np.all(np.ptp(times, axis=0) > 0.09)
    right = sum(judge(case, spliced(cases, number, same_look=True))[EVERYTHING] for number, case in enumerate(cases))
    assert right / len(cases) < 0.3


@pytest.mark.parametrize(
    ("lie", "wrong"),
    [
        (lambda scene: with_looks(scene, recoloured, "colour"), "colour"),
        (_gone_for_good, "shape"),
        (_hurried, "exit time"),
        (_turned_back, "exit side"),
    ],
    ids=["another colour", "gone for good", "too early", "turned back"],
)
def test_each_loss_is_told(known: list[Scene], lie: Lie, wrong: str) -> None:
    section = _section(known, lie)
    assert section.row(wrong, SEEN).score.value <= 0.2
    assert section.row(EVERYTHING, SEEN).score.value <= 0.2


def test_a_clip_that_stops_brings_nothing_back(known: list[Scene]) -> None:
    # The first frame still shows the object before the screen, where it should not be.
    assert _section(known, None, frozen).row(EVERYTHING, SEEN).score.value == 0.0


def test_only_objects_that_were_wholly_hidden_count() -> None:
    shapes = ShapeMix.fixed(16, 32, 32, 8)
    world = World(WorldConfig(split="all", kinds={SceneKind.OCCLUDE: 1.0}, shapes=shapes))
    cases = [case for index in range(30) if (case := hidden(world.scene(index))) is not None]
    assert 5 <= len(cases) < 30
    for case in cases:
        inside = case.track.visible[case.given - 1 : int(case.back) + 1]
        assert len(inside) >= 3
        assert inside.max() < 0.04
        assert case.track.visible[int(case.back) + 1] > 0
    still = World(WorldConfig(split="all", kinds={SceneKind.SEVERAL: 1.0}, shapes=shapes)).scene(0)
    assert hidden(still) is None


def test_models_and_worlds_that_it_does_not_apply_to(known: list[Scene]) -> None:
    assert "extend" in _report(known, tasks=(Task.TEXT,)).absent["permanence"]
    several = WorldConfig(kinds={SceneKind.SEVERAL: 1.0})
    assert "screen" in _report(known, world=several).absent["permanence"]
    assert "another scene's course" in _report(known, frames=16, world=_of_length(16)).absent["permanence"]


def test_models_that_know_longer_clips_are_asked_for_these(known: list[Scene]) -> None:
    report = _report(known, frames=16, world=_of_length(16, 48))
    row = report.sections["permanence"].row(EVERYTHING, SEEN)
    assert row.score.value == 1.0
    assert {scene.shape.frames for scene in known} >= {48}
