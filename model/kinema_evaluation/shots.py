"""Is a stream of two shots what its two prompts say, and is the object that comes back the one that was there.

Each shot is read alone, since where the cut is made is known. The second prompt calls what comes back "the same object"
and tells neither colour, shape nor size, so only looking back keeps them. It is held against what the model itself drew
in the first shot. Two rules stand beside it: one forgets the first shot, the other always gives the commonest answer.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from kinema_evaluation.bootstrap import mean
from kinema_evaluation.captions import EVERYTHING as ALL_MARKS
from kinema_evaluation.captions import marks
from kinema_evaluation.drift import Stream, drift
from kinema_evaluation.plan import EvaluationContext, SkippedSection, true_clips
from kinema_evaluation.report import ContactSheet, ReportClip, Row, Score, Section
from kinema_model.streaming.stream import Shot
from kinema_world import Facts, ObjectFacts, Scene, SceneKind, ShotFacts, Video
from kinema_world.captions import shot_captions
from kinema_world.reader import read

EVERYTHING: Final = "everything"
FIRST: Final = "first shot"
SECOND: Final = "second shot"
KEPT: Final = "object kept"
COLOUR: Final = "colour kept"
SHAPE: Final = "shape kept"
SIZE: Final = "size kept"
LAWFUL: Final = "moves by the law"
NEW: Final = "second shot is new"
CONSTANT: Final = "always the commonest object"
_MEANING: Final = {
    EVERYTHING: "all of the rows below in one clip",
    FIRST: "all that the first prompt says is so until the cut",
    SECOND: "all that the second prompt says is so from the cut on, of the object that was there before",
    KEPT: "the recurring object has one colour, one shape and one size on both sides, none of which its prompt tells",
    COLOUR: "an object of the recurring colour is there before and after the cut",
    SHAPE: "it has the same shape on both sides of the cut",
    SIZE: "it has the same size on both sides, by the word for it",
    LAWFUL: "in each shot, what moves keeps its line and its speed",
    NEW: "no frame of the second shot is one of the first",
}
# Of 255, by which frames of two shots differ on average.
_SAME: Final = 2.0
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
        verdicts, floor = (
            [_judged(scene, clip) for scene, clip in zip(scenes, of, strict=True)] for of in (streamed, truth)
        )
        rows += _rows(group, scenes, verdicts, floor)
        sheets += _sheets(group, scenes, streamed, verdicts)
    return Section(
        title="Shots",
        question="Does each shot follow its prompt, and is what comes back the same as before?",
        rows=tuple(rows),
        remarks=(
            'Half of the trainings\' second shots say "the same object". A model that was trained before these words '
            "were there does not know them.",
        ),
        sheets=tuple(sheets),
    )


def prompts_of(scene: Scene) -> tuple[str, ...]:
    """What the shots of a scene are asked for by: the second one tells nothing of how the recurring object looks."""
    return shot_captions(scene.facts, recall=True)


def _streamed(examination: EvaluationContext, scenes: Sequence[Scene]) -> list[_TwoShotClip]:
    config = examination.model.config
    streamed = []
    for place, scene in enumerate(scenes):
        examination.on_progress(examination.section, place, len(scenes))
        seconds = [shot.frames / scene.shape.fps for shot in scene.shots]
        shots = [Shot(prompt, time) for prompt, time in zip(prompts_of(scene), seconds, strict=True)]
        video = np.concatenate(list(examination.stream(shots, place)))
        streamed.append(_TwoShotClip(video, config.grid.frames_of(config.rows_for(seconds[0])), config.fps))
    examination.on_progress(examination.section, len(scenes), len(scenes))
    return streamed


def _judged(scene: Scene, clip: _TwoShotClip) -> dict[str, bool]:
    """What is right of a clip of two shots."""
    first, second = clip.parts
    lawful = [
        drift(Stream(Facts(SceneKind.TWO_SHOT, (shot,)), [part], clip.fps)).chunks[0].lawful
        for shot, part in zip(scene.facts.shots, clip.parts, strict=True)
    ]
    apart = [np.abs(frame.astype(np.float32) - first).mean(axis=(1, 2, 3)).min() for frame in second]
    found = verdict(scene, clip.facts) | {LAWFUL: all(lawful), NEW: bool(min(apart) > _SAME)}
    return {EVERYTHING: all(found.values()), **found}


def verdict(scene: Scene, found: Pair) -> dict[str, bool]:
    """What is right of what was read of two shots that were asked for by the captions of a scene."""
    asked = scene.facts.brief().shots
    colour = scene.shots[0].tracks[0].appearance.colour
    before, after = (_of_colour(shot, colour) for shot in found)
    kept = {
        COLOUR: before is not None and after is not None,
        SHAPE: _kept(before, after, lambda thing: thing.shape),
        SIZE: _kept(before, after, lambda thing: thing.size),
    }
    follows = {FIRST: _follows(asked[0], found[0]), SECOND: _follows(asked[1], found[1])}
    return {**follows, KEPT: all(kept.values()), **kept}


def _follows(asked: ShotFacts, found: ShotFacts) -> bool:
    wanted, there = (Facts(SceneKind.TWO_SHOT, (shot,)).brief() for shot in (asked, found))
    return any(mark.name == ALL_MARKS and mark.right == mark.asked for mark in marks(wanted, there))


def _of_colour(shot: ShotFacts, colour: str) -> ObjectFacts | None:
    return next((thing for thing in shot.objects if thing.colour == colour), None)


def _kept(before: ObjectFacts | None, after: ObjectFacts | None, what: Callable[[ObjectFacts], str | None]) -> bool:
    return before is not None and after is not None and what(before) is not None and what(before) == what(after)


def forgetting(scenes: Sequence[Scene]) -> list[dict[str, bool]]:
    """What is right where the second shot shows an object of another scene in the place of what comes back."""
    looks = [scene.facts.shots[0].objects[0] for scene in scenes]
    return [_with_look(scene, look) for scene, look in zip(scenes, [*looks[1:], *looks[:1]], strict=True)]


def constant(scenes: Sequence[Scene]) -> list[dict[str, bool]]:
    """What is right where the commonest colour, shape and size come back in every clip."""
    looks = [scene.facts.shots[0].objects[0] for scene in scenes]
    colour, shape, size = (
        Counter(getattr(look, name) for look in looks).most_common(1)[0][0] for name in ("colour", "shape", "size")
    )
    return [_with_look(scene, ObjectFacts(colour, shape, size)) for scene in scenes]


def _with_look(scene: Scene, look: ObjectFacts) -> dict[str, bool]:
    """The verdict on true shots in which the recurring object comes back in another look."""
    first, second = scene.facts.shots
    mine = first.objects[0]
    dressed = [
        replace(thing, colour=look.colour, shape=look.shape, size=look.size) if thing.colour == mine.colour else thing
        for thing in second.objects
    ]
    found = verdict(scene, (first, replace(second, objects=tuple(dressed))))
    # Each row for itself: the shape may be right where the colour is not.
    found |= {COLOUR: mine.colour == look.colour, SHAPE: mine.shape == look.shape, SIZE: mine.size == look.size}
    found |= {LAWFUL: True, NEW: True}
    return {EVERYTHING: all(found.values()), **found}


def _rows(
    group: str, scenes: Sequence[Scene], verdicts: Sequence[dict[str, bool]], floor: Sequence[dict[str, bool]]
) -> list[Row]:
    ignoring, same = forgetting(scenes), constant(scenes)
    rows = []
    for name, meaning in _MEANING.items():
        score, truth, control, answer = (_score(of, name) for of in (verdicts, floor, ignoring, same))
        if score is None:
            continue
        # The first shot has nothing to forget, and shots of true clips are lawful and new.
        memory = {} if name in (FIRST, LAWFUL, NEW) else _memory(control, answer)
        rows.append(Row(name=name, group=group, meaning=meaning, score=score, floor=truth).model_copy(update=memory))
    return rows


def _memory(ignoring: Score | None, answer: Score | None) -> Mapping[str, object]:
    return {"ignoring": ignoring, "controls": {} if answer is None else {CONSTANT: answer}}


def _score(verdicts: Sequence[dict[str, bool]], name: str) -> Score | None:
    return mean([float(verdict[name]) for verdict in verdicts])


def _sheets(
    group: str, scenes: Sequence[Scene], streamed: Sequence[_TwoShotClip], verdicts: Sequence[dict[str, bool]]
) -> list[ContactSheet]:
    """Each clip's two shots side by side."""
    sheets = []
    for scene, clip, right in list(zip(scenes, streamed, verdicts, strict=True))[:_SHOWN]:
        kept = "the recurring object kept" if right[KEPT] else "the recurring object changed"
        shown = tuple(
            ReportClip(prompt, part, right[name])
            for prompt, part, name in zip(prompts_of(scene), clip.parts, (FIRST, SECOND), strict=True)
        )
        sheets.append(ContactSheet(f"Two shots, {group}: {kept}", shown))
    return sheets
