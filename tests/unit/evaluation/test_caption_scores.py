"""Caption scores: 1 for the truth, and each kind of falsehood shows in its own row."""

import numpy as np
import pytest

from kinema_evaluation import EvaluationPlan, Section, evaluate
from kinema_evaluation.captions import BOUND_SHAPE, EVERYTHING, marks, simple_facts
from kinema_evaluation.plan import NEW_COMBINATIONS, SEEN
from kinema_model.conditions.tasks import Task
from kinema_world import Scene, SceneKind, Video, WorldConfig
from unit.evaluation.pretenders import (
    Lie,
    Pretender,
    Spoil,
    backwards,
    config_of,
    frozen,
    recoloured,
    turned,
    with_looks,
)

pytestmark = pytest.mark.slow


SIMPLE = WorldConfig(kinds={SceneKind.SIMPLE: 1.0})
SEVERAL = WorldConfig(kinds={SceneKind.SEVERAL: 1.0})


def _captions(
    known: list[Scene], world: WorldConfig, lie: Lie | None = None, spoil: Spoil | None = None, clips: int = 6
) -> Section:
    plan = EvaluationPlan(clips=clips, world=world, sections=("captions",))
    return evaluate(Pretender(known, config_of(), lie, spoil), plan).sections["captions"]


@pytest.mark.parametrize("world", [SIMPLE, SEVERAL], ids=["simple", "several"])
def test_truth_scores_one_seen_and_held_out(known: list[Scene], world: WorldConfig) -> None:
    section = _captions(known, world)
    assert {row.group for row in section.rows} >= {SEEN, NEW_COMBINATIONS}
    for row in section.rows:
        assert row.score.value == 1.0
        assert row.floor is not None
        assert row.floor.value == 1.0
        assert row.chance is not None
        assert row.chance < 1


@pytest.mark.parametrize(
    ("lie", "spoil", "wrong", "right"),
    [
        (lambda scene: with_looks(scene, recoloured, "colour"), None, "colour", "shape"),
        (lambda scene: with_looks(scene, lambda v: ["circle" for _ in v], "shape"), None, "shape", "colour"),
        (None, backwards, "direction", "colour"),
        (None, frozen, "direction", "shape"),
    ],
    ids=["colour", "shape", "backwards", "frozen"],
)
def test_each_falsehood_shows_in_its_own_row(
    known: list[Scene], lie: Lie | None, spoil: Spoil | None, wrong: str, right: str
) -> None:
    section = _captions(known, SIMPLE, lie, spoil)
    assert section.row(wrong, SEEN).score.value < 0.75
    assert section.row(right, SEEN).score.value == 1.0
    assert section.row(EVERYTHING, SEEN).score.value <= section.row(wrong, SEEN).score.value


def test_swapped_shapes_are_right_one_by_one_and_wrong_together(known: list[Scene]) -> None:
    section = _captions(known, SEVERAL, lambda scene: with_looks(scene, turned, "shape"))
    assert section.row("shape", SEEN).score.value == 1.0
    assert section.row(BOUND_SHAPE, SEEN).score.value == 0.0
    assert section.row(BOUND_SHAPE, SEEN).chance == pytest.approx(0.4, abs=0.2)
    assert section.row(EVERYTHING, SEEN).score.value < 0.6


def _noise(clip: Video) -> Video:
    return np.random.default_rng(0).integers(0, 255, clip.shape, dtype=np.uint8)


def test_empty_and_noisy_clips_are_unreadable_and_wrong(known: list[Scene]) -> None:
    for spoil in (np.zeros_like, _noise):
        row = _captions(known, SEVERAL, None, spoil, clips=2).row("shape", SEEN)
        assert row.score.value == 0.0
        assert row.unreadable > 0


def test_chance_of_simple_captions_is_exact(known: list[Scene]) -> None:
    section = _captions(known, SIMPLE, clips=2)
    chances = [section.row(name, SEEN).chance for name in ("colour", "shape", "direction")]
    assert chances == pytest.approx([1 / 6, 1 / 3, 1 / 4])


def test_a_superfluous_object_costs_a_right_one() -> None:
    asked = simple_facts("red", "square", "left")
    (shot,) = asked.shots
    extra = simple_facts("blue", "circle", "up").shots[0].objects
    crowded = type(asked)(asked.kind, (type(shot)((*shot.objects, *extra)),))
    right = {mark.name: mark.right for mark in marks(asked, crowded)}
    assert (right["colour"], right["objects"], right[EVERYTHING]) == (0.0, 0.0, 0.0)


def test_what_does_not_apply_is_named_and_left_out(known: list[Scene]) -> None:
    plan = EvaluationPlan(clips=2, world=SIMPLE, sections=("captions",))
    report = evaluate(Pretender(known, config_of(tasks=(Task.FILL,))), plan)
    assert report.sections == {}
    assert "words alone" in report.absent["captions"]
    nothing_held_out = EvaluationPlan(clips=2, sections=("captions",))
    report = evaluate(Pretender(known, config_of()), nothing_held_out)
    assert {row.group for row in report.sections["captions"].rows} == {SEEN}
    assert not report.subject.world_known
