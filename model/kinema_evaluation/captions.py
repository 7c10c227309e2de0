"""Whether a clip shows what its caption says: each attribute, and which object has it.

Attributes are counted over all objects of a shot, so a red square and a blue circle drawn for a red circle and a blue
square have every colour and every shape right; only the rows of binding tell that they are on the wrong objects.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import factorial, prod
from typing import Final

import numpy as np

from kinema_evaluation.bootstrap import mean, share
from kinema_evaluation.plan import EvaluationContext, SkippedSection, facts_read, true_clips
from kinema_evaluation.report import ContactSheet, ReportClip, Row, Section
from kinema_model.conditions.tasks import Task
from kinema_world import (
    Facts,
    Motion,
    ObjectFacts,
    Scene,
    SceneKind,
    ShotFacts,
    Video,
    combinations,
)

EVERYTHING: Final = "everything"
BOUND_SHAPE: Final = "binding of shape"
BOUND_DIRECTION: Final = "binding of direction"
_SHOWN: Final = 8
_OTHERS: Final = 16
_OF_OBJECTS: Final = {
    "colour": "colour",
    "shape": "shape",
    "heading": "direction",
    "motion": "motion",
    "walls": "walls",
    "rebounds": "rebounds",
    "trail": "trail",
}
_MEANING: Final = {
    "colour": "the colours that the caption names",
    "shape": "the shapes that the caption names",
    "direction": "which way objects move",
    "motion": "what objects do: move, bounce, fall, hit, pass behind, paint or stay",
    "walls": "the walls that an object bounces off, in their order",
    "rebounds": "how often a falling object leaves the floor again",
    "trail": "the colour of the trail that stays",
    "objects": "as many objects as the caption names, no more and no fewer",
    "kind": "the kind of scene",
    "pan": "which way the camera pans",
    EVERYTHING: "clips in which all of the above is right",
    BOUND_SHAPE: "clips of several objects in which each has its own shape and none another's",
    BOUND_DIRECTION: "clips of several objects in which each moves its own way",
}


@dataclass(frozen=True)
class Mark:
    """One attribute of one clip: the numbers of right, asked and unreadable values."""

    name: str
    right: float
    asked: float
    unreadable: int = 0


def marks(asked: Facts, found: Facts) -> list[Mark]:
    """Every attribute that a caption states, compared with what was read. A superfluous object costs a right one."""
    totals: dict[str, list[float]] = {}
    for mark in _single(asked, found):
        entry = totals.setdefault(mark.name, [0.0, 0.0, 0])
        for place, value in enumerate((mark.right, mark.asked, mark.unreadable)):
            entry[place] += value
    all_marks = [Mark(name, right, of, int(unread)) for name, (right, of, unread) in totals.items()]
    everything = all(mark.right == mark.asked for mark in all_marks) and all(_bound(asked, found).values())
    unread = any(mark.unreadable for mark in all_marks)
    return [*all_marks, Mark(EVERYTHING, float(everything), 1.0, int(unread))]


def _single(asked: Facts, found: Facts) -> Iterator[Mark]:
    yield Mark("kind", float(asked.kind == found.kind), 1.0, int(found.kind is None))
    for wanted, there in zip_longest(asked.shots, found.shots[: len(asked.shots)], fillvalue=ShotFacts(())):
        surplus = max(0, len(there.objects) - len(wanted.objects))
        yield Mark("objects", float(len(wanted.objects) == len(there.objects)), 1.0)
        if wanted.pan is not None:
            yield Mark("pan", float(wanted.pan == there.pan), 1.0, int(there.pan is None))
        for field, name in _OF_OBJECTS.items():
            values = Counter(v for thing in wanted.objects if (v := getattr(thing, field)) is not None)
            present = Counter(v for thing in there.objects if (v := getattr(thing, field)) is not None)
            if count := values.total():
                right = max(0, (values & present).total() - surplus)
                yield Mark(name, right, count, max(0, count - present.total()))


def _bound(asked: Facts, found: Facts) -> dict[str, bool]:
    """Whether each object of a shot of several has its own value, for what differs between them."""
    verdicts: dict[str, bool] = {}
    for shot, there in zip_longest(asked.shots, found.shots[: len(asked.shots)], fillvalue=ShotFacts(())):
        by_colour = {thing.colour: thing for thing in there.objects}
        for field, name in (("shape", BOUND_SHAPE), ("heading", BOUND_DIRECTION)):
            if _differ(shot, field):
                own = [
                    getattr(by_colour.get(thing.colour), field, None) == getattr(thing, field) for thing in shot.objects
                ]
                verdicts[name] = verdicts.get(name, True) and all(own)
    return verdicts


def _differ(shot: ShotFacts, field: str) -> bool:
    values = [getattr(thing, field) for thing in shot.objects]
    return None not in values and len(set(values)) > 1


def binding_by_chance(asked: Facts) -> dict[str, float]:
    """How often the right values land on the right objects when it is left to chance."""
    shares: dict[str, float] = {}
    for shot in asked.shots:
        for field, name in (("shape", BOUND_SHAPE), ("heading", BOUND_DIRECTION)):
            if _differ(shot, field):
                times = Counter(getattr(thing, field) for thing in shot.objects).values()
                ways = factorial(len(shot.objects)) / prod(factorial(n) for n in times)
                shares[name] = shares.get(name, 1.0) / ways
    return shares


def rows_of(asked: Sequence[Facts], found: Sequence[Facts], truth: Sequence[Facts], group: str) -> list[Row]:
    """Rows of one group of clips; `truth` is what was read of true clips of the same captions."""
    marked = [marks(a, f) for a, f in zip(asked, found, strict=True)]
    floors = [marks(a, f) for a, f in zip(asked, truth, strict=True)]
    chances = _by_chance(asked)
    names = dict.fromkeys(mark.name for clip in marked for mark in clip)
    rows = []
    for name in names:
        mine, floor = _of(marked, name), _of(floors, name)
        score = share([m.right for m in mine], [m.asked for m in mine])
        # What is so in every clip of the world tells nothing of a model.
        if score is not None and chances[name] < 1:
            of_truth = share([m.right for m in floor], [m.asked for m in floor])
            unreadable = sum(mark.unreadable for mark in mine)
            rows.append(
                Row(
                    name=name,
                    group=group,
                    meaning=_MEANING[name],
                    score=score,
                    floor=of_truth,
                    chance=chances[name],
                    unreadable=unreadable,
                )
            )
    return rows + _binding_rows(asked, found, truth, group)


def _of(clips: Sequence[Sequence[Mark]], name: str) -> list[Mark]:
    return [mark for clip in clips for mark in clip if mark.name == name]


def _binding_rows(asked: Sequence[Facts], found: Sequence[Facts], truth: Sequence[Facts], group: str) -> list[Row]:
    rows = []
    mine, floor = ([_bound(a, f) for a, f in zip(asked, of, strict=True)] for of in (found, truth))
    chances = [binding_by_chance(a) for a in asked]
    for name in (BOUND_SHAPE, BOUND_DIRECTION):
        score = mean([float(clip[name]) for clip in mine if name in clip])
        if score is not None:
            of_truth = mean([float(clip[name]) for clip in floor if name in clip])
            chance = float(np.mean([clip[name] for clip in chances if name in clip]))
            rows.append(Row(name=name, group=group, meaning=_MEANING[name], score=score, floor=of_truth, chance=chance))
    return rows


def _by_chance(asked: Sequence[Facts]) -> dict[str, float]:
    """What true clips of other captions would score: of all simple ones, or of the others that were asked."""
    sums: dict[str, list[float]] = {}
    simple = all(facts.kind is SceneKind.SIMPLE for facts in asked)
    everyone = [simple_facts(*one) for one in _all_simple()] if simple else []
    for place, facts in enumerate(asked):
        reach = min(len(asked) - 1, _OTHERS)
        others = everyone or [asked[(place + step) % len(asked)] for step in range(1, reach + 1)]
        for other in others:
            for mark in marks(facts, other):
                entry = sums.setdefault(mark.name, [0.0, 0.0])
                entry[0] += mark.right
                entry[1] += mark.asked
    if not sums:
        return {mark.name: 0.0 for facts in asked for mark in marks(facts, facts)}
    return {name: right / of for name, (right, of) in sums.items()}


def _all_simple() -> list[tuple[str, str, str]]:
    return [(str(one.colour), str(one.shape), str(one.direction)) for one in combinations()]


def simple_facts(colour: str, shape: str, direction: str) -> Facts:
    """What a short caption says of one object that moves."""
    thing = ObjectFacts(colour, shape, motion=Motion.STRAIGHT, heading=direction)
    return Facts(SceneKind.SIMPLE, (ShotFacts((thing,)),))


def read_all(clips: Sequence[Video], scenes: Sequence[Scene]) -> list[Facts]:
    """What is read of clips (T, H, W, 3) that were made for these scenes, as far as short captions speak of it."""
    return [facts_read(clip, scene.kind, scene.shape.fps).brief() for clip, scene in zip(clips, scenes, strict=True)]


def examine(examination: EvaluationContext) -> Section:
    """Captions of the model's world, like those of its training and with something held out of it.

    Raises:
        SkippedSection: the model makes no clips from words, or its clip shows no scene of its world.
    """
    if not examination.can(Task.TEXT):
        raise SkippedSection("The model was not trained to make clips from words alone.")
    kinds = examination.kinds()
    if not kinds:
        raise SkippedSection("The model's own clip is too short or too small for every kind of scene of its world.")
    rows: list[Row] = []
    sheets: list[ContactSheet] = []
    for number, (group, scenes) in enumerate(examination.groups(kinds, examination.plan.clips).items()):
        prompts = [scene.captions.short for scene in scenes]
        clips = examination.draw(prompts, [scene.shape for scene in scenes], number * examination.plan.clips)
        asked = [scene.facts.brief() for scene in scenes]
        found = read_all(clips, scenes)
        rows += rows_of(asked, found, read_all(true_clips(scenes), scenes), group)
        sheets.append(_sheet(group, prompts, clips, asked, found))
    return Section(
        title="Captions",
        question="Does the clip show what the caption says?",
        rows=tuple(rows),
        remarks=tuple(_remarks(examination, kinds, rows)),
        sheets=tuple(sheets),
    )


def _sheet(
    group: str, prompts: Sequence[str], clips: Sequence[Video], asked: Sequence[Facts], found: Sequence[Facts]
) -> ContactSheet:
    shown = []
    for prompt, clip, wanted, facts in list(zip(prompts, clips, asked, found, strict=True))[:_SHOWN]:
        good = all(mark.right == mark.asked for mark in marks(wanted, facts))
        shown.append(ReportClip(prompt, clip, good))
    return ContactSheet(f"The first clips, {group}", tuple(shown))


def _remarks(examination: EvaluationContext, kinds: Sequence[SceneKind], rows: Sequence[Row]) -> Iterator[str]:
    left_out = [kind for kind in examination.world.wanted if kind not in kinds]
    if left_out:
        yield f"Not shown in the model's own clip, so not asked: {', '.join(left_out)}."
    if examination.world.split != "train":
        yield (
            "Nothing was held out of this model's training: all captions that are asked may occur in it, and only "
            "seeds are new."
        )
    if not any(row.name == BOUND_SHAPE for row in rows):
        yield "No caption had two objects that differ in shape, so binding could not be asked."
    if sum(kind is SceneKind.SIMPLE for kind in kinds) == len(kinds):
        yield "Scenes of one object over black are the easiest of the world: a high score says little about others."
