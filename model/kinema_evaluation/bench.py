"""The scenes by which tasks are judged, what a model that ignores its input makes of them, and rows about both.

A measure tells something of a task only where its input decides something. So nothing that is given is told in words as
well: prompts of tasks with input frames are empty, as a tenth of those of a training is. Beside each row stands what a
model scores that hears its prompt and ignores its input: another true clip that fits the prompt, with the input pasted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kinema_evaluation.bootstrap import mean, median
from kinema_evaluation.plan import NOTHING_SAID, EvaluationContext, facts_read
from kinema_evaluation.report import ContactSheet, ReportClip, Row, Score
from kinema_evaluation.tracking import Floats, velocity_change, visible_centres
from kinema_model.codec.codec import pixels, to_uint8
from kinema_model.conditions.conditioning import paste
from kinema_model.conditions.task_inputs import TaskInputs
from kinema_model.conditions.tasks import Task
from kinema_world import Scene, Video

SEAM: Final = "seam"
GOES_ON: Final = "goes on"
GIVEN: Final = "given frames"
MOVES: Final = "moves"
MOST_JUMP: Final = 0.2
MOSTLY: Final = 0.9
# An object that halts at the seam changes its velocity by a whole step.
_GOES_ON: Final = 0.5
_LEAST_TRAVEL: Final = 0.04
_SHOWN: Final = 4
_MEANING: Final = {
    SEAM: "change of velocity where given and made frames meet, in shares of a frame's step (median of readable clips)",
    GOES_ON: "clips whose object is there on both sides of the seam, with less than half a step between its velocities",
    GIVEN: "what was given comes out bit for bit",
}

Found = tuple[list[Row], ContactSheet]


@dataclass(frozen=True)
class Bench:
    """Scenes and other scenes of the same world, both with their true clips uint8 (T, H, W, 3)."""

    examination: EvaluationContext
    scenes: Sequence[Scene]
    truth: Sequence[Video]
    others: Sequence[Scene]
    others_truth: Sequence[Video]

    @property
    def frames(self) -> int:
        """Length of every clip."""
        return self.examination.shape.frames

    def ask(self, task: Task, inputs: Sequence[TaskInputs], prompts: Sequence[str] | None = None) -> list[Video]:
        """The model's clips (T, H, W, 3) by prompts, by default ones that say nothing. Raises `ModelError`."""
        return self.examination.complete(task, prompts or [NOTHING_SAID] * len(inputs), inputs)

    def ignoring(self, inputs: Sequence[TaskInputs], clips: Sequence[Video] | None = None) -> list[Video]:
        """Other true clips (T, H, W, 3), or those that are given, with the inputs pasted in."""
        cell = self.examination.model.config.grid.cell
        pairs = zip(clips or self.others_truth, inputs, strict=True)
        return [to_uint8(paste(pixels(clip), given, cell)[None])[0].numpy() for clip, given in pairs]

    def centres(self, clips: Sequence[Video]) -> list[Floats]:
        """Centres (T, 2) of what has the colour of the scene's first object in each clip (T, H, W, 3)."""
        pairs = zip(self.scenes, clips, strict=True)
        return [visible_centres(clip, scene.shots[0].tracks[0].appearance.colour) for scene, clip in pairs]

    def jumps(self, clips: Sequence[Video], seams: Sequence[int]) -> list[float | None]:
        """The largest change of velocity at any of the seams as a share of a true frame's step; None: unreadable.

        `seams` are the first frames of what follows.
        """
        found: list[float | None] = []
        for scene, centres in zip(self.scenes, self.centres(clips), strict=True):
            changes = [velocity_change(centres, seam) for seam in seams]
            known = [change for change in changes if change is not None]
            found.append(max(known) / step_of(scene) if len(known) == len(seams) else None)
        return found

    def seam_rows(
        self, task: Task, clips: Sequence[Video], ignoring: Sequence[Video], seams: Sequence[int]
    ) -> list[Row]:
        """Whether the object goes on over the seams, and how evenly."""
        return jump_rows(task, *(self.jumps(of, seams) for of in (clips, self.truth, ignoring)))

    def given_row(self, task: Task, clips: Sequence[Video], ignoring: Sequence[Video], frames: Sequence[int]) -> Row:
        """Whether these frames of clips (T, H, W, 3) are those of the true clips."""
        places = list(frames)

        def same(of: Sequence[Video]) -> list[float]:
            return [float(np.array_equal(c[places], t[places])) for c, t in zip(of, self.truth, strict=True)]

        return share_row(GIVEN, task, _MEANING[GIVEN], (same(clips), same(self.truth), same(ignoring)), bar=1.0)

    def moves_row(self, task: Task, clips: Sequence[Video], ignoring: Sequence[Video], meaning: str) -> Row:
        """Whether the first object moves."""

        def moving(of: Sequence[Video]) -> list[float]:
            seen = [centres[~np.isnan(centres[:, 0])] for centres in self.centres(of)]
            least = _LEAST_TRAVEL * self.examination.shape.side
            return [float(len(centres) > 1 and np.ptp(centres, axis=0).max() > least) for centres in seen]

        return share_row(MOVES, task, meaning, (moving(clips), moving(self.truth), moving(ignoring)))

    def sheet(self, task: Task, clips: Sequence[Video], scenes: Sequence[Scene] | None = None) -> ContactSheet:
        """The first clips (T, H, W, 3) of a task."""
        pairs = list(zip(scenes or self.scenes, clips, strict=True))[:_SHOWN]
        return ContactSheet(f"{task}", tuple(ReportClip(scene.captions.short, clip) for scene, clip in pairs))


def step_of(scene: Scene) -> float:
    """Pixels that the first object of a scene moves from one frame to the next."""
    return float(np.linalg.norm(scene.shots[0].tracks[0].velocities[0])) / scene.shape.fps


def share_row(
    name: str,
    task: Task,
    meaning: str,
    verdicts: tuple[Sequence[float], Sequence[float], Sequence[float] | None],
    bar: float = MOSTLY,
) -> Row:
    """The share of right clips of the model, of true clips, and of a model that ignores its input."""
    made, true, ignoring = verdicts
    score = mean(made)
    assert score is not None
    return Row(
        name=name,
        group=task,
        meaning=meaning,
        score=score,
        floor=mean(true),
        ignoring=None if ignoring is None else mean(ignoring),
        bar=bar,
    )


def jump_rows(
    task: Task, made: Sequence[float | None], true: Sequence[float | None], ignoring: Sequence[float | None]
) -> list[Row]:
    """Rows of changes of velocity in shares of a frame's step; the seam has one where a clip can be read."""
    goes_on = ([float(one is not None and one < _GOES_ON) for one in of] for of in (made, true, ignoring))
    first, second, third = goes_on
    rows = [share_row(GOES_ON, task, _MEANING[GOES_ON], (first, second, third))]
    unreadable = sum(one is None for one in made)
    rows[0] = rows[0].model_copy(update={"unreadable": unreadable})
    scores: list[Score | None] = [median([one for one in of if one is not None]) for of in (made, true, ignoring)]
    if scores[0] is not None:
        rows.append(
            Row(
                name=SEAM,
                group=task,
                meaning=_MEANING[SEAM],
                score=scores[0],
                floor=scores[1],
                ignoring=scores[2],
                unreadable=unreadable,
                bar=MOST_JUMP,
                better="lower",
                unit="ratio",
            )
        )
    return rows


def has_appearance(clip: Video, scene: Scene) -> float:
    """1 where the clip has an object of the colour and shape of the scene's first one, else 0."""
    appearance = scene.shots[0].tracks[0].appearance
    shots = facts_read(clip, scene.kind, scene.shape.fps).shots
    there = {(thing.colour, thing.shape) for thing in shots[0].objects}
    return float((appearance.colour, appearance.shape) in there)


def has_colour(clip: Video, scene: Scene) -> float:
    """1 where the clip has an object of the colour of the scene's first one, else 0."""
    colour = scene.shots[0].tracks[0].appearance.colour
    shots = facts_read(clip, scene.kind, scene.shape.fps).shots
    return float(colour in {thing.colour for thing in shots[0].objects})
