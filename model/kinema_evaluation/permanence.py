"""Object permanence: an object that goes behind a screen must come out with the same attributes.

Only clips whose object was hidden for three frames or more count. The model is given all up to the first frame in
which it is, so the law and the given frames fix what must come back, where and when. Speed and screen are staged anew
for each clip, and clips have 32 frames or more: in the world's own, nearly every object is hidden at one moment and for
as long, so that another scene's course would do. Rules are judged on the same clips: another scene's course in the same
look, the velocity that was read, and the object as if the screen hid nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from kinema_evaluation.bootstrap import mean
from kinema_evaluation.plan import EvaluationContext, SkippedSection, true_clips
from kinema_evaluation.report import ContactSheet, ReportClip, Row, Score, Section
from kinema_evaluation.staged import hiding
from kinema_evaluation.tracking import Floats, objects, places, velocity
from kinema_model.conditions.tasks import Task
from kinema_model.rng import RngStream, generator
from kinema_world import Scene, SceneKind, Track, Video
from kinema_world.reader import ObjectReading, read
from kinema_world.scene import Rectangle, visible_share

EVERYTHING: Final = "everything"
EXTRAPOLATED: Final = "linear extrapolation"
ALWAYS_PRESENT: Final = "always present"
SPLICED: Final = "another scene's course"
_MEANING: Final = {
    "colour": "what comes out has the colour that went in",
    "shape": "it has the shape",
    "size": "it has the size, by the word for it",
    "exit side": "it comes out at the side of the screen that it was moving to",
    "exit place": "it comes out on the line on which it went in, within half its radius",
    "exit time": "it comes out when it should, within 20 % of the time that it was hidden",
    EVERYTHING: "all six in one clip",
}
_TIME: Final = 0.2
_PLACE: Final = 0.5
LEAST_FRAMES: Final = 32
_HIDDEN: Final = 0.04
_LEAST_HIDDEN: Final = 3
_FINE: Final = 0.02
# Scenes looked at for each that hides its object for long enough.
_MORE: Final = 4
_DIFFERS: Final = 24
_SHOWN: Final = 6


_TRIES: Final = 20
_RULES: Final = (
    f"{SPLICED}: what fits every word of a caption and nothing of where, when and how long. {EXTRAPOLATED}: goes on "
    f"with the velocity that is read of the given frames, which shows what a rule without learning reaches. "
    f"{ALWAYS_PRESENT}: draws the object over the screen; a measure that praised it would not ask for permanence."
)


@dataclass(frozen=True)
class Hidden:
    """A scene whose object is hidden from `gone` to `back`, both in frames and between two as a rule.

    What shows less than a reader can tell counts as hidden.
    """

    scene: Scene
    gone: float
    back: float

    @property
    def track(self) -> Track:
        """The object."""
        return self.scene.shots[0].tracks[0]

    @property
    def screen(self) -> Rectangle:
        """What hides it."""
        screen = self.scene.shots[0].screen
        assert screen is not None
        return screen

    @property
    def given(self) -> int:
        """Frames that a model is given: all until it is hidden, and the first in which it is."""
        return int(np.ceil(self.gone)) + 1


def hidden(scene: Scene) -> Hidden | None:
    """When the object of a scene is hidden, None where that is for fewer than three frames.

    Shorter times are left out: an object that is drawn all the time would come out at nearly the right time.
    """
    shot, shape = scene.shots[0], scene.shape
    if shot.screen is None:
        return None
    (track,) = shot.tracks
    frames = np.arange(0, shape.frames - 1, _FINE)
    path = track.positions[0] + frames[:, None] / shape.fps * track.velocities[0]
    unseen = frames[visible_share(track.appearance, path, shot.screen, shape) < _HIDDEN]
    if not len(unseen) or unseen[-1] == frames[-1] or int(unseen[-1]) - int(np.ceil(unseen[0])) + 1 < _LEAST_HIDDEN:
        return None
    return Hidden(scene, float(unseen[0]), float(unseen[-1]))


def judge(case: Hidden, clip: Video) -> dict[str, bool]:
    """What of the object came back right in a clip uint8 (T, H, W, 3); what cannot be read is wrong."""
    later = read(clip[case.given :], case.scene.shape.fps)
    things = later.shots[0].objects
    verdict = dict.fromkeys((name for name in _MEANING if name != EVERYTHING), False)
    if len(things) == 1 and len(later.shots) == 1:
        (thing,) = things
        appearance = case.track.appearance
        verdict |= {
            "colour": thing.colour == appearance.colour,
            "shape": thing.shape == appearance.shape,
            "size": thing.facts(case.scene.shape.side).size == appearance.size,
            "exit side": _side(case, thing) == case.track.heading,
            "exit place": _on_its_line(case, thing),
            "exit time": _in_time(case, thing),
        }
    return verdict | {EVERYTHING: all(verdict.values())}


def _side(case: Hidden, thing: ObjectReading) -> str | None:
    """Which way from the middle of the screen the object is first wholly seen."""
    first = next((centre for centre in thing.centres if centre is not None), None)
    if first is None:
        return None
    screen = case.screen
    if case.track.heading in ("left", "right"):
        return "right" if first[0] > (screen.left + screen.right) / 2 else "left"
    return "down" if first[1] > (screen.top + screen.bottom) / 2 else "up"


def _first(case: Hidden, thing: ObjectReading) -> tuple[int, Floats] | None:
    """The frame of the clip in which the object is first wholly seen, and how far it is from where it should be."""
    for frame, centre in enumerate(thing.centres):
        if centre is not None:
            at = case.given + frame
            return at, np.asarray(centre) - case.track.positions[at]
    return None


def _on_its_line(case: Hidden, thing: ObjectReading) -> bool:
    first = _first(case, thing)
    across = 1 if case.track.heading in ("left", "right") else 0
    return first is not None and abs(float(first[1][across])) <= _PLACE * case.track.appearance.radius


def _in_time(case: Hidden, thing: ObjectReading) -> bool:
    """Whether it was hidden until it should come out, and is then as far as it should be, both within the tolerance."""
    seen = [case.given + frame for frame, share in enumerate(thing.visible) if share >= _HIDDEN]
    first = _first(case, thing)
    if not seen or first is None:
        return False
    slack = _TIME * (case.back - case.gone)
    velocity = case.track.velocities[0] / case.scene.shape.fps
    late = -float(first[1] @ velocity / (velocity @ velocity))
    return seen[0] >= case.back - slack and abs(late) <= slack


def extrapolated(case: Hidden, true: Video) -> Video:
    """A clip (T, H, W, 3) that extrapolates velocity and appearance read from the input frames of the true clip."""
    scene, shot = case.scene, case.scene.shots[0]
    thing = objects(true[: case.given], scene.shape.fps).get(case.track.appearance.colour)
    centres = places(thing, case.given)
    way = _velocity(centres, scene.shape.fps)
    if thing is None or way is None or thing.shape is None or thing.radius is None:
        return true[np.minimum(np.arange(len(true)), case.given - 1)]
    start = np.flatnonzero(~np.isnan(centres[:, 0]))[0]
    times = (np.arange(scene.shape.frames) - start) / scene.shape.fps
    path = centres[start] + times[:, None] * way
    appearance = replace(case.track.appearance, shape=thing.shape, radius=thing.radius)
    seen = visible_share(appearance, path, case.screen, scene.shape)
    track = replace(case.track, appearance=appearance, positions=path, world_positions=path, visible=seen)
    (drawn,) = true_clips([replace(scene, shots=(replace(shot, tracks=(track,)),))])
    return np.concatenate((true[: case.given], drawn[case.given :]))


def _velocity(centres: Floats, fps: float) -> Floats | None:
    """As `tracking.velocity`, and of two centres where there are no more."""
    found = velocity(centres, 0, len(centres), fps)
    seen = np.flatnonzero(~np.isnan(centres[:, 0]))
    if found is None and len(seen) > 1:
        return np.asarray((centres[seen[-1]] - centres[seen[0]]) / (seen[-1] - seen[0]) * fps)
    return found


def always_present(case: Hidden, true: Video) -> Video:
    """The true clip (T, H, W, 3) with the object drawn over the screen."""
    shot = case.scene.shots[0]
    bare = replace(shot, screen=None)
    with_object, without = true_clips(
        [replace(case.scene, shots=(replace(bare, tracks=tracks),)) for tracks in (shot.tracks, ())]
    )
    differs = np.abs(with_object.astype(int) - without).max(axis=-1, keepdims=True) > _DIFFERS
    return np.where(differs, with_object, true)


def spliced(cases: Sequence[Hidden], number: int, *, same_look: bool) -> Video:
    """A clip (T, H, W, 3) of one case that goes on with the course of the next case of its heading.

    In the colour and shape of the case it fits its caption; in those of the next one it ignores all that is given.
    """
    case, count = cases[number], len(cases)
    further = [cases[(number + step) % count] for step in range(1, count)]
    other = next((one for one in further if one.track.heading == case.track.heading), further[0] if further else case)
    look = (case if same_look else other).track.appearance
    track = replace(other.track, appearance=replace(other.track.appearance, colour=look.colour, shape=look.shape))
    mine, theirs = true_clips(
        [case.scene, replace(other.scene, shots=(replace(other.scene.shots[0], tracks=(track,)),))]
    )
    return np.concatenate((mine[: case.given], theirs[case.given :]))


def cases_of(scenes: Sequence[Scene], count: int) -> list[Hidden]:
    """The first `count` scenes that can be staged with another speed and screen so that they hide their object."""
    found: list[Hidden] = []
    for number, scene in enumerate(scenes):
        draw = generator(RngStream.EVALUATION, 2, number)
        staged_scene = next((made for _ in range(_TRIES) if (made := hiding(scene, draw)) is not None), None)
        case = None if staged_scene is None else hidden(staged_scene)
        if case is not None and len(found) < count:
            found.append(case)
    return found


def examine(examination: EvaluationContext) -> Section:
    """Raises `SkippedSection` where the model's world hides nothing, or the model cannot go on from given frames."""
    examination = examination.at_least(LEAST_FRAMES)
    if SceneKind.OCCLUDE not in examination.kinds():
        raise SkippedSection("Nothing in the model's world passes behind a screen within the model's own clip.")
    if not examination.can(Task.EXTEND):
        raise SkippedSection(
            "The model was not trained to extend: in words alone, nothing fixes what must come back, or when."
        )
    if examination.shape.frames < LEAST_FRAMES:
        raise SkippedSection(
            f"The model was trained on clips of {examination.shape.frames} frames. In fewer than {LEAST_FRAMES} every "
            "object is hidden at the same moment for as long, so another scene's course would do."
        )
    rows: list[Row] = []
    sheets: list[ContactSheet] = []
    count = examination.plan.completions
    for group, scenes in examination.groups([SceneKind.OCCLUDE], _MORE * count).items():
        cases = cases_of(scenes, count)
        clips = examination.extend([case.scene for case in cases], [case.given for case in cases])
        verdicts = _judged(cases, clips)
        rows += _rows(group, cases, verdicts)
        shown = [
            ReportClip(case.scene.captions.short, clip, verdict[EVERYTHING])
            for case, clip, verdict in list(zip(cases, clips, verdicts, strict=True))[:_SHOWN]
        ]
        sheets.append(ContactSheet(f"Given all until the object is hidden, {group}", tuple(shown)))
    return Section(
        title="Permanence",
        question="Is what went behind a screen still there, and does it come out as it should?",
        rows=tuple(rows),
        remarks=(_RULES,),
        sheets=tuple(sheets),
    )


def _judged(cases: Sequence[Hidden], clips: Sequence[Video]) -> list[dict[str, bool]]:
    return [judge(case, clip) for case, clip in zip(cases, clips, strict=True)]


def _rows(group: str, cases: Sequence[Hidden], verdicts: Sequence[dict[str, bool]]) -> list[Row]:
    truth = true_clips([case.scene for case in cases])
    pairs, numbers = list(zip(cases, truth, strict=True)), range(len(cases))
    floor = _judged(cases, truth)
    ignoring, another = (
        _judged(cases, [spliced(cases, number, same_look=same) for number in numbers]) for same in (False, True)
    )
    controls = {
        SPLICED: another,
        EXTRAPOLATED: _judged(cases, [extrapolated(case, true) for case, true in pairs]),
        ALWAYS_PRESENT: _judged(cases, [always_present(case, true) for case, true in pairs]),
    }
    rows = []
    for name, meaning in _MEANING.items():
        score = _score(verdicts, name)
        if score is not None:
            rows.append(
                Row(
                    name=name,
                    group=group,
                    meaning=meaning,
                    score=score,
                    floor=_score(floor, name),
                    ignoring=_score(ignoring, name),
                    controls={rule: of for rule, given in controls.items() if (of := _score(given, name)) is not None},
                )
            )
    return rows


def _score(verdicts: Sequence[dict[str, bool]], name: str) -> Score | None:
    return mean([float(verdict[name]) for verdict in verdicts])
