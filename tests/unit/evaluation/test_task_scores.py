"""Each task's own verdict: reached by the truth, and missed by a model that breaks the promise of that task."""

from dataclasses import replace
from typing import Unpack

import numpy as np
import pytest

from kinema_evaluation import EvaluationPlan, Section, evaluate, staged
from kinema_evaluation.distribution import blurred
from kinema_evaluation.plan import true_clips
from kinema_evaluation.tasks import (
    CHANGED,
    COLOUR_KEPT,
    GIVEN,
    GOES_ON,
    INSIDE,
    KEPT,
    MOVES,
    OUTSIDE,
    SEAM,
    SMOOTH,
)
from kinema_model.codec.codec import pixels, to_uint8
from kinema_model.conditions.conditioning import paste
from kinema_model.conditions.task_inputs import TaskInputs
from kinema_model.conditions.tasks import Task
from kinema_model.pipeline import Asked, Completed
from kinema_world import COLOURS, Scene, SceneKind, ShapeMix, Video, World, WorldConfig
from unit.evaluation.pretenders import EVERY_TASK, Lie, Pretender, Spoil, config_of, frozen, recoloured, with_looks

pytestmark = pytest.mark.slow


WORLD = WorldConfig(kinds={SceneKind.SEVERAL: 1.0})


def _tasks(known: list[Scene], lie: Lie | None = None, spoil: Spoil | None = None, *, careful: bool = True) -> Section:
    plan = EvaluationPlan(clips=16, world=WORLD, sections=("tasks",))
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
        missed = {(SEAM, Task.LOOP), (GOES_ON, Task.LOOP), (SMOOTH, Task.BLEND)}
        # Pasting keeps what was given.
        expected = None if row.name in (GIVEN, OUTSIDE) else (row.name, row.group) not in missed
        assert row.reached is expected, row


@pytest.mark.parametrize("kind", [SceneKind.SIMPLE, SceneKind.SEVERAL])
def test_ignoring_the_input_is_told_from_the_truth_in_every_row_that_counts(
    known: list[Scene], kind: SceneKind
) -> None:
    plan = EvaluationPlan(clips=64, world=WorldConfig(kinds={kind: 1.0}), sections=("tasks",))
    simple = config_of(8, 24, 24, tuple(task for task in EVERY_TASK if task is not Task.PICTURE))
    config = simple if kind is SceneKind.SIMPLE else config_of()
    section = evaluate(Pretender(known, config), plan).sections["tasks"]
    for row in section.rows:
        assert row.ignoring is not None
        assert row.floor is not None
        if row.name in (GIVEN, OUTSIDE):
            assert row.void
        elif row.name == SEAM:
            assert row.floor.value < 0.15
        else:
            assert row.floor.value - row.ignoring.value > 0.4, row
    # A straight course does not lead back to its start, and one scene is no blend of two.
    behind = {(row.name, row.group) for row in section.rows if not row.void and row.lead is not None and row.lead < 0.2}
    assert behind <= {(GOES_ON, Task.LOOP), (SMOOTH, Task.BLEND)}
    (told,) = [remark for remark in section.remarks if remark.startswith("Not counted")]
    assert "extend: given frames" in told


def test_a_model_that_ignores_its_input_is_named(known: list[Scene]) -> None:
    plan = EvaluationPlan(clips=48, world=WORLD, sections=("tasks",))
    section = evaluate(Ignoring(known, config_of()), plan).sections["tasks"]
    (told,) = [remark for remark in section.remarks if remark.startswith("Less than 20 points")]
    for name in ("extend: goes on", "fill: goes on", "inpaint: object kept"):
        assert name in told


@pytest.mark.parametrize("kind", [SceneKind.SIMPLE, SceneKind.SEVERAL])
def test_light_blur_and_noise_are_no_change_of_motion(known: list[Scene], kind: SceneKind) -> None:
    noise = np.random.default_rng(0)
    spoils: list[Spoil] = [
        lambda clip: blurred(clip, 0.1, 0),
        lambda clip: (clip + noise.normal(0, 8, clip.shape)).clip(0, 255).astype(np.uint8),
    ]
    for spoil in spoils:
        plan = EvaluationPlan(clips=32, world=WorldConfig(kinds={kind: 1.0}), sections=("tasks",))
        section = evaluate(Pretender(known, config_of(), None, spoil), plan).sections["tasks"]
        for task in (Task.EXTEND, Task.EXTEND_BACK, Task.FILL):
            assert section.row(SEAM, task).reached, (task, section.row(SEAM, task))
            assert section.row(GOES_ON, task).score.value >= 0.8


@pytest.mark.parametrize(
    ("lie", "spoil", "missed"),
    [
        (_shifted, None, [(SEAM, Task.EXTEND), (GOES_ON, Task.EXTEND_BACK), (SEAM, Task.FILL)]),
        (
            lambda scene: with_looks(scene, recoloured, "colour"),
            None,
            [(KEPT, Task.IMAGE), (COLOUR_KEPT, Task.IMAGE)],
        ),
        (_as_before, None, [(INSIDE, Task.INPAINT), (CHANGED, Task.EDIT)]),
        (None, frozen, [(CHANGED, Task.EDIT), (MOVES, Task.LOOP), (MOVES, Task.IMAGE), (SEAM, Task.EXTEND)]),
        (None, _vanishing, [(KEPT, Task.IMAGE), (MOVES, Task.IMAGE), (GOES_ON, Task.EXTEND), (KEPT, Task.INPAINT)]),
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
    assert section.remarks[-1].startswith("Broken, although pasting should keep it: image: given frames")


def test_a_still_loop_has_no_seam_and_does_not_move(known: list[Scene]) -> None:
    section = _tasks(known, None, frozen)
    assert section.row(SEAM, Task.LOOP).reached
    assert section.row(MOVES, Task.LOOP).score.value == 0.0


class Ignoring(Pretender):
    """Draws the first scene that it knows, whatever it is given."""

    def complete(self, task: Task, prompt: str, seed: int, inputs: TaskInputs, **how: Unpack[Asked]) -> Completed:
        scene = next(one for one in self._known if one.shape.frames == self.config.frames)
        made = paste(pixels(true_clips([scene])[0]), inputs, self.config.patch)
        return Completed(to_uint8(made[None])[0].numpy(), ())


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
    assert section.row(GIVEN, Task.BLEND).score.value == 1.0
    assert _tasks(known).row(SMOOTH, Task.BLEND).score.value == 0.0


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
