"""Is a stream of two shots what its two prompts say, and is the object that comes back the one that was there.

Each shot is read alone, since where the cut is made is known. What comes back is held against what the model itself
drew in the first shot: prompts name its colour and shape but not its size, so only looking back keeps that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kinema_evaluation.bootstrap import mean
from kinema_evaluation.captions import EVERYTHING as ALL_MARKS
from kinema_evaluation.captions import marks
from kinema_evaluation.plan import EvaluationContext, SkippedSection, true_clips
from kinema_evaluation.report import ContactSheet, ReportClip, Row, Section
from kinema_model.streaming.stream import Shot
from kinema_world import Facts, ObjectFacts, Scene, SceneKind, ShotFacts, Video
from kinema_world.reader import read

EVERYTHING: Final = "everything"
FIRST: Final = "first shot"
SECOND: Final = "second shot"
COLOUR: Final = "colour kept"
SHAPE: Final = "shape kept"
SIZE: Final = "size kept"
_MEANING: Final = {
    EVERYTHING: "each shot follows its prompt, and what comes back keeps colour, shape and size",
    FIRST: "all that the first prompt says is so until the cut",
    SECOND: "all that the second prompt says is so from the cut on",
    COLOUR: "an object of the recurring colour is there before and after the cut",
    SHAPE: "it has the same shape on both sides of the cut",
    SIZE: "it has the same size on both sides, by the word for it, which no prompt tells",
}
_OTHERS: Final = 16
_SHOWN: Final = 3

Pair = tuple[ShotFacts, ShotFacts]


@dataclass(frozen=True)
class _TwoShotClip:
    """A clip of two shots, and where the second begins."""

    video: Video
    cut: int
    fps: float

    @property
    def parts(self) -> tuple[Video, Video]:
        """Both shots."""
        return self.video[: self.cut], self.video[self.cut :]

    @property
    def facts(self) -> Pair:
        """What is read of each shot alone, sizes with it."""
        first, second = (read(part, self.fps).facts.shots[0] for part in self.parts)
        return first, second


def examine(examination: EvaluationContext) -> Section:
    """Raises `SkippedSection` where the model does not stream or its world has no scenes of two shots."""
    if examination.model.config.streaming is None:
        raise SkippedSection(
            "The model was not trained to stream, and only a stream has shots with prompts of their own."
        )
    if SceneKind.TWO_SHOT not in examination.kinds():
        raise SkippedSection(
            "The model's world has no scenes of two shots within its own clip. Train on a world with two-shot."
        )
    rows: list[Row] = []
    sheets: list[ContactSheet] = []
    for group, scenes in examination.groups((SceneKind.TWO_SHOT,), examination.plan.completions).items():
        streamed = _streamed(examination, scenes)
        truth = [
            _TwoShotClip(clip, scene.shots[1].first, scene.shape.fps)
            for scene, clip in zip(scenes, true_clips(scenes), strict=True)
        ]
        verdicts = [verdict(scene, clip.facts) for scene, clip in zip(scenes, streamed, strict=True)]
        floor = [verdict(scene, clip.facts) for scene, clip in zip(scenes, truth, strict=True)]
        rows += _rows(group, verdicts, floor, by_chance(scenes))
        sheets += _sheets(group, scenes, streamed, verdicts)
    return Section(
        title="Shots",
        question="Does each shot follow its prompt, and is what comes back the same as before?",
        rows=tuple(rows),
        sheets=tuple(sheets),
    )


def _streamed(examination: EvaluationContext, scenes: Sequence[Scene]) -> list[_TwoShotClip]:
    config = examination.model.config
    streamed = []
    for place, scene in enumerate(scenes):
        examination.on_progress(examination.section, place, len(scenes))
        seconds = [shot.frames / scene.shape.fps for shot in scene.shots]
        shots = [Shot(prompt, time) for prompt, time in zip(scene.captions.shots, seconds, strict=True)]
        video = np.concatenate(list(examination.stream(shots, place)))
        streamed.append(_TwoShotClip(video, config.grid.frames_of(config.rows_for(seconds[0])), config.fps))
    examination.on_progress(examination.section, len(scenes), len(scenes))
    return streamed


def verdict(scene: Scene, found: Pair) -> dict[str, bool]:
    """What is right of two shots that were asked for by the captions of a scene."""
    asked = scene.facts.brief().shots
    colour = scene.shots[0].tracks[0].appearance.colour
    before, after = (_of_colour(shot, colour) for shot in found)
    verdicts = {
        FIRST: _follows(asked[0], found[0]),
        SECOND: _follows(asked[1], found[1]),
        COLOUR: before is not None and after is not None,
        SHAPE: _kept(before, after, lambda thing: thing.shape),
        SIZE: _kept(before, after, lambda thing: thing.size),
    }
    return {EVERYTHING: all(verdicts.values()), **verdicts}


def _follows(asked: ShotFacts, found: ShotFacts) -> bool:
    wanted, there = (Facts(SceneKind.TWO_SHOT, (shot,)).brief() for shot in (asked, found))
    return any(mark.name == ALL_MARKS and mark.right == mark.asked for mark in marks(wanted, there))


def _of_colour(shot: ShotFacts, colour: str) -> ObjectFacts | None:
    return next((thing for thing in shot.objects if thing.colour == colour), None)


def _kept(before: ObjectFacts | None, after: ObjectFacts | None, what: Callable[[ObjectFacts], str | None]) -> bool:
    return before is not None and after is not None and what(before) is not None and what(before) == what(after)


def by_chance(scenes: Sequence[Scene]) -> dict[str, float]:
    """What is right where shots of other scenes are shown, and an object of another scene comes back."""
    totals: dict[str, list[float]] = {name: [] for name in _MEANING}
    for place, scene in enumerate(scenes):
        for step in range(1, min(len(scenes) - 1, _OTHERS) + 1):
            other = scenes[(place + step) % len(scenes)]
            shown = verdict(scene, (other.facts.shots[0], other.facts.shots[1]))
            mine, stranger = scene.facts.shots[0].objects[0], other.facts.shots[1].objects[0]
            shown[COLOUR] = mine.colour == stranger.colour
            shown[SHAPE] = mine.shape == stranger.shape
            shown[SIZE] = mine.size == stranger.size
            for name, right in shown.items():
                totals[name].append(float(right))
    return {name: float(np.mean(values)) if values else 0.0 for name, values in totals.items()}


def _rows(
    group: str, verdicts: Sequence[dict[str, bool]], floor: Sequence[dict[str, bool]], chances: dict[str, float]
) -> list[Row]:
    rows = []
    for name, meaning in _MEANING.items():
        score, truth = (mean([float(one[name]) for one in of]) for of in (verdicts, floor))
        if score is not None:
            rows.append(Row(name=name, group=group, meaning=meaning, score=score, floor=truth, chance=chances[name]))
    return rows


def _sheets(
    group: str, scenes: Sequence[Scene], streamed: Sequence[_TwoShotClip], verdicts: Sequence[dict[str, bool]]
) -> list[ContactSheet]:
    """Each clip's two shots side by side."""
    sheets = []
    for scene, clip, right in list(zip(scenes, streamed, verdicts, strict=True))[:_SHOWN]:
        recurring = right[COLOUR] and right[SHAPE] and right[SIZE]
        kept = "the recurring object kept" if recurring else "the recurring object changed"
        shown = tuple(
            ReportClip(prompt, part, right[name])
            for prompt, part, name in zip(scene.captions.shots, clip.parts, (FIRST, SECOND), strict=True)
        )
        sheets.append(ContactSheet(f"Two shots, {group}: {kept}", shown))
    return sheets
