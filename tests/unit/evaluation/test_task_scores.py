"""Each task's own verdict: reached by the truth, and missed by a model that breaks the promise of that task."""

from dataclasses import replace
from typing import Unpack

import numpy as np
import pytest

from kinema_evaluation import EvaluationPlan, Section, evaluate, staged
from kinema_evaluation.plan import true_clips
from kinema_evaluation.tasks import (
    CHANGED,
    GIVEN,
    INSIDE,
    KEPT,
    MOVES,
    SEAM,
    SMOOTH,
)
from kinema_model.codec.codec import to_uint8
from kinema_model.conditions.conditioning import paste
from kinema_model.conditions.task_inputs import TaskInputs
from kinema_model.conditions.tasks import Task
from kinema_model.pipeline import Asked, Completed
from kinema_world import COLOURS, Scene, SceneKind, ShapeMix, Video, World, WorldConfig
from unit.evaluation.pretenders import Lie, Pretender, Spoil, config_of, frozen, recoloured, with_looks

pytestmark = pytest.mark.slow


WORLD = WorldConfig(kinds={SceneKind.SEVERAL: 1.0})


def _tasks(known: list[Scene], lie: Lie | None = None, spoil: Spoil | None = None, *, careful: bool = True) -> Section:
    plan = EvaluationPlan(clips=8, world=WORLD, sections=("tasks",))
    return evaluate(Pretender(known, config_of(), lie, spoil, careful=careful), plan).sections["tasks"]


def _as_before(scene: Scene) -> Scene:
    """The first object in the colour before the one that was asked for: mostly that of the source."""
    palette = list(COLOURS)
    return with_looks(scene, lambda colours: [palette[palette.index(c) - 1] for c in colours], "colour")


def _shifted(scene: Scene) -> Scene:
    """Everything a little to the side of where it should be."""
    (shot,) = scene.shots
    tracks = tuple(replace(track, positions=track.positions + 3.0) for track in shot.tracks)
    return replace(scene, shots=(replace(shot, tracks=tracks),))


def _vanishing(clip: Video) -> Video:
    """The first frame, then nothing but the background."""
    empty = np.median(clip, axis=(0, 1, 2)).astype(np.uint8)
    return np.concatenate((clip[:1], np.broadcast_to(empty, clip[1:].shape)))


def test_truth_keeps_every_promise_that_it_can(known: list[Scene]) -> None:
    section = _tasks(known)
    assert {row.group for row in section.rows} == set(Task)
    for row in section.rows:
        # A straight course does not lead back to its start, and one scene is no blend of two.
        expected = (row.name, row.group) not in {(SEAM, Task.LOOP), (SMOOTH, Task.BLEND)}
        assert row.reached is expected, row


@pytest.mark.parametrize(
    ("lie", "spoil", "missed"),
    [
        (_shifted, None, [(SEAM, Task.EXTEND), (SEAM, Task.EXTEND_BACK), (SEAM, Task.FILL)]),
        (lambda scene: with_looks(scene, recoloured, "colour"), None, [(KEPT, Task.IMAGE)]),
        (_as_before, None, [(INSIDE, Task.INPAINT), (CHANGED, Task.EDIT)]),
        (None, frozen, [(CHANGED, Task.EDIT), (MOVES, Task.LOOP), (MOVES, Task.IMAGE), (SEAM, Task.EXTEND)]),
        (None, _vanishing, [(KEPT, Task.IMAGE), (MOVES, Task.IMAGE)]),
    ],
    ids=["shifted", "recoloured", "source colours", "frozen", "vanishing"],
)
def test_each_broken_promise_is_told(
    known: list[Scene], lie: Lie | None, spoil: Spoil | None, missed: list[tuple[str, Task]]
) -> None:
    section = _tasks(known, lie, spoil)
    for name, task in missed:
        assert section.row(name, task).reached is False, (name, task)


def test_given_pixels_that_were_touched_are_told(known: list[Scene]) -> None:
    dimmed: Spoil = lambda clip: np.where(clip > 200, clip - 1, clip).astype(np.uint8)  # noqa: E731
    section = _tasks(known, None, dimmed, careful=False)
    for task in (Task.IMAGE, Task.EXTEND, Task.EXTEND_BACK, Task.FILL, Task.LOOP, Task.BLEND):
        assert section.row(GIVEN, task).score.value == 0.0
    assert section.row(SEAM, Task.EXTEND).reached


def test_a_still_loop_has_no_seam_and_does_not_move(known: list[Scene]) -> None:
    section = _tasks(known, None, frozen)
    assert section.row(SEAM, Task.LOOP).reached
    assert section.row(MOVES, Task.LOOP).score.value == 0.0


class Fader(Pretender):
    """Blends by showing both clips at once, as given."""

    def complete(self, task: Task, prompt: str, seed: int, inputs: TaskInputs, **how: Unpack[Asked]) -> Completed:
        if task is not Task.BLEND or inputs.source is None:
            return super().complete(task, prompt, seed, inputs, **how)
        video = to_uint8(paste(inputs.source, inputs, self.config.patch)[None])[0].numpy()
        return Completed(video, ())


def test_a_crossfade_is_smooth_and_a_cut_is_not(known: list[Scene]) -> None:
    plan = EvaluationPlan(clips=8, world=WORLD, sections=("tasks",))
    section = evaluate(Fader(known, config_of()), plan).sections["tasks"]
    assert section.row(SMOOTH, Task.BLEND).reached
    assert section.row(GIVEN, Task.BLEND).reached
    assert _tasks(known).row(SMOOTH, Task.BLEND).score.value > 3


def test_models_are_asked_for_what_they_were_trained_for(known: list[Scene]) -> None:
    plan = EvaluationPlan(clips=4, world=WORLD, sections=("tasks",))
    section = evaluate(Pretender(known, config_of(tasks=(Task.IMAGE,))), plan).sections["tasks"]
    assert {row.group for row in section.rows} == {Task.IMAGE}
    assert "extend" in section.remarks[0]


@pytest.mark.parametrize("kind", [SceneKind.SIMPLE, SceneKind.SEVERAL])
def test_a_region_holds_the_whole_course_of_the_object(kind: SceneKind) -> None:
    world = World(WorldConfig(kinds={kind: 1.0}, shapes=ShapeMix.fixed(8, 32, 32, 8)))
    for index in range(5):
        scene = world.scene(index)
        other = staged.with_new_appearance(scene, shape_too=True)
        first, second = true_clips([scene, other])
        changed = (first != second).any(axis=-1)
        inside = staged.region(scene, other).numpy()
        assert changed.any()
        assert not (changed & ~inside).any()
        assert not (staged.far_outside(staged.region(scene, other), 4).numpy() & inside).any()
        assert other.captions.short != scene.captions.short
