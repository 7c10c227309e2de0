"""Motion scores: 1 for what moves by the law, in and out of the trained range, and 0 for what does not."""

import numpy as np
import pytest

from kinema_evaluation import EvaluationPlan, Section, evaluate
from kinema_evaluation.motion import ERROR, GRAVITY, KEPT, REFLECTION, STEADY, band, given_frames
from kinema_evaluation.plan import NEW_SPEEDS, SEEN
from kinema_model.conditions.tasks import Task
from kinema_world import Scene, SceneKind, Video, WorldConfig
from unit.evaluation.pretenders import EVERY_TASK, Pretender, Spoil, config_of, frozen

pytestmark = pytest.mark.slow


TEXT_ONLY = (Task.TEXT,)


def _motion(
    known: list[Scene], kind: SceneKind, spoil: Spoil | None = None, tasks: tuple[Task, ...] = EVERY_TASK
) -> Section:
    plan = EvaluationPlan(clips=5, world=WorldConfig(kinds={kind: 1.0}), sections=("motion",))
    return evaluate(Pretender(known, config_of(tasks=tasks), None, spoil), plan).sections["motion"]


def _half_as_fast(clip: Video) -> Video:
    return np.ascontiguousarray(clip[np.arange(len(clip)) // 2])


def _hurrying(clip: Video) -> Video:
    """Slow at first and fast in the end."""
    times = (np.arange(len(clip)) / (len(clip) - 1)) ** 2 * (len(clip) - 1)
    return np.ascontiguousarray(clip[times.round().astype(int)])


def _tiring(clip: Video) -> Video:
    """From the middle on, everything takes twice as long."""
    half = len(clip) // 2
    return np.concatenate((clip[:half], np.repeat(clip[half:], 2, axis=0)[: len(clip) - half]))


@pytest.mark.parametrize("kind", [SceneKind.SIMPLE, SceneKind.SEVERAL])
def test_truth_keeps_its_velocity_at_all_speeds(known: list[Scene], kind: SceneKind) -> None:
    section = _motion(known, kind)
    others = [NEW_SPEEDS] if kind is SceneKind.SEVERAL else [band(factor) for factor in (0.6, 0.8, 1.25, 1.4)]
    for group in (SEEN, *others):
        assert section.row(KEPT, group).score.value == 1.0
        assert section.row(ERROR, group).score.value < 0.1
    assert section.row(STEADY, SEEN).score.value == 1.0


@pytest.mark.parametrize("spoil", [frozen, _half_as_fast])
def test_other_velocities_are_told(known: list[Scene], spoil: Spoil) -> None:
    section = _motion(known, SceneKind.SIMPLE, spoil)
    assert section.row(KEPT, SEEN).score.value == 0.0
    assert section.row(ERROR, SEEN).score.value > 0.4
    # The same wrong way at every speed is wrong beyond training as well.
    assert all(section.row(KEPT, band(factor)).score.value == 0.0 for factor in (0.6, 1.4))


def test_rows_by_speed_say_what_the_training_shows(known: list[Scene]) -> None:
    section = _motion(known, SceneKind.SIMPLE)
    (curve,) = section.curves
    assert curve.x == (0.6, 0.8, 1.0, 1.25, 1.4)
    assert curve.y == curve.beside["true clips"] == (1.0,) * 5
    assert max(curve.beside["ignoring the input"]) < 1
    assert "know one speed" in section.remarks[-1]
    assert not _motion(known, SceneKind.SEVERAL).curves


@pytest.mark.parametrize("kind", [SceneKind.SIMPLE, SceneKind.SEVERAL, SceneKind.BOUNCE])
def test_ignoring_the_input_keeps_no_law(known: list[Scene], kind: SceneKind) -> None:
    plan = EvaluationPlan(clips=64, world=WorldConfig(kinds={kind: 1.0}), sections=("motion",))
    section = evaluate(Pretender(known, config_of()), plan).sections["motion"]
    given = [row for row in section.rows if row.ignoring is not None and row.unit == "share"]
    assert given
    for row in given:
        assert row.floor is not None
        assert row.ignoring is not None
        assert row.floor.value - row.ignoring.value > 0.5, row


def test_in_words_what_stands_still_is_not_steady(known: list[Scene]) -> None:
    assert _motion(known, SceneKind.SIMPLE, frozen, TEXT_ONLY).row(STEADY, SEEN).score.value == 0.0


def test_in_words_a_velocity_that_grows_is_told(known: list[Scene]) -> None:
    truth = _motion(known, SceneKind.SIMPLE, None, TEXT_ONLY)
    assert truth.row(STEADY, SEEN).score.value == 1.0
    assert "how fast" in truth.remarks[0]
    assert _motion(known, SceneKind.SIMPLE, _hurrying, TEXT_ONLY).row(STEADY, SEEN).score.value == 0.0


@pytest.mark.parametrize("kind", [SceneKind.BOUNCE, SceneKind.GRAVITY])
def test_walls_and_gravity(known: list[Scene], kind: SceneKind) -> None:
    name = REFLECTION if kind is SceneKind.BOUNCE else GRAVITY
    for tasks in (EVERY_TASK, TEXT_ONLY):
        assert _motion(known, kind, None, tasks).row(name, SEEN).score.value == 1.0
        assert _motion(known, kind, frozen, tasks).row(name, SEEN).score.value == 0.0
    slow = _tiring if kind is SceneKind.BOUNCE else _half_as_fast
    assert _motion(known, kind, slow, TEXT_ONLY).row(name, SEEN).score.value < 0.5


def _vanishing(clip: Video) -> Video:
    """What is given, then nothing but the background."""
    first = given_frames(len(clip))
    empty = np.median(clip, axis=0).astype(np.uint8)
    return np.concatenate((clip[:first], np.repeat(empty[None], len(clip) - first, axis=0)))


def _halted(clip: Video) -> Video:
    """What is given, then its last frame for ever."""
    first = given_frames(len(clip))
    return clip[np.minimum(np.arange(len(clip)), first - 1)]


@pytest.mark.parametrize("spoil", [_vanishing, _halted])
@pytest.mark.parametrize(("kind", "name"), [(SceneKind.BOUNCE, REFLECTION), (SceneKind.GRAVITY, GRAVITY)])
def test_what_was_given_earns_nothing(known: list[Scene], kind: SceneKind, name: str, spoil: Spoil) -> None:
    assert _motion(known, kind, spoil).row(name, SEEN).score.value == 0.0


def test_a_fall_under_another_gravity_is_told(known: list[Scene]) -> None:
    assert _motion(known, SceneKind.GRAVITY, _half_as_fast).row(GRAVITY, SEEN).score.value == 0.0


def test_a_world_without_laws_is_named(known: list[Scene]) -> None:
    plan = EvaluationPlan(clips=4, world=WorldConfig(kinds={SceneKind.IMAGE: 1.0}), sections=("motion",))
    report = evaluate(Pretender(known, config_of()), plan)
    assert "moves straight ahead" in report.absent["motion"]
