"""Do things move by the laws of the world: with one velocity, mirrored at walls, under constant gravity.

A model that was trained to extend is given the beginning, which fixes all that follows. Others are asked in words, and
only what holds for every clip can be marked then. PhyWorld (arXiv:2411.02385) measures velocities in and out of the
trained range alike, and expects them to fail outside.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from kinema_evaluation.bootstrap import mean, median
from kinema_evaluation.plan import SEEN, EvaluationContext, SkippedSection, true_clips
from kinema_evaluation.report import ContactSheet, Curve, ReportClip, Row, Score, Section
from kinema_evaluation.tracking import Floats, objects, places, velocity
from kinema_model.conditions.tasks import Task
from kinema_world import Motion, Scene, SceneKind, Track, Video
from kinema_world.moving import GRAVITY_RANGE
from kinema_world.scene import visible_share

KEPT: Final = "velocity kept"
ERROR: Final = "velocity error"
STEADY: Final = "steady velocity"
REFLECTION: Final = "reflection"
GRAVITY: Final = "gravity"
# Shares of the true value, degrees, and shares of the shorter side within which a law counts as kept.
_NEAR: Final = 0.2
_ANGLE: Final = 10.0
_SPEED: Final = 0.15
_PARABOLA: Final = 0.02
# A flight is told by so many frames in the air; below this share of the shorter side an object is on the ground.
_LEAST_FLIGHT: Final = 4
_GROUND: Final = 0.02
# What an object that cannot be read is off by: as much as one that stands still.
_LOST: Final = 1.0
# What moves by less than this share of the scene's own speed stands still, whose velocity is constant as well.
_MOVES: Final = 0.25
_GIVEN_SHARE: Final = 0.375
_LEAST_MADE: Final = 3
_WHOLE: Final = 1 - 1e-9
# Simple scenes all move about as fast, within 10 %. Bands of other speeds, as multiples of theirs.
_OTHER_SPEEDS: Final = (0.6, 0.8, 1.25, 1.4)
_SHOWN: Final = 6
_TAUGHT: Final = (
    "Simple scenes of the training know one speed, within 10 %: nothing in them teaches any other, so rows of other "
    "speeds show what the data leaves open. Speeds in bands, some of them held out, are in scenes of several objects."
)

Places = npt.NDArray[np.int64]
"""Numbers of frames."""


@dataclass(frozen=True)
class Law:
    """A law of motion. `judge` scores in [0, 1] a clip uint8 (T, H, W, 3) of a scene, generated from a frame on.

    `asks` says whether the scene shows the law from that frame on.
    """

    name: str
    meaning: str
    judge: Callable[[Scene, Video, int], float]
    asks: Callable[[Scene, int], bool] = lambda scene, first: True


def band(factor: float) -> str:
    """The group of scenes whose speed is so many times that of the training's."""
    return f"{factor:g} x the speed of the training"


def given_frames(frames: int) -> int:
    """Input frames of a clip of so many frames: enough to read a velocity, less than half."""
    return max(2, round(_GIVEN_SHARE * frames))


def rescaled(scene: Scene, factor: float) -> Scene:
    """A simple scene with its velocities times `factor`."""
    (shot,) = scene.shots
    tracks = []
    for track in shot.tracks:
        path = track.positions[0] + factor * (track.positions - track.positions[0])
        seen = visible_share(track.appearance, path, None, scene.shape)
        moved = replace(track, positions=path, world_positions=path, velocities=factor * track.velocities, visible=seen)
        tracks.append(moved)
    return replace(scene, shots=(replace(shot, tracks=tuple(tracks)),))


def velocity_errors(scene: Scene, clip: Video, first: int) -> list[float]:
    """|v - v_true| / |v_true| of each moving object that is visible long enough from frame `first` on.

    `clip` uint8 (T, H, W, 3) was made for the scene.
    """
    errors = []
    there = objects(clip, scene.shape.fps)
    for track in followed(scene, first):
        measured = velocity(
            places(there.get(track.appearance.colour), scene.shape.frames), first, scene.shape.frames, scene.shape.fps
        )
        true = track.velocities[0]
        off = _LOST if measured is None else float(np.linalg.norm(measured - true) / np.linalg.norm(true))
        errors.append(off)
    return errors


def followed(scene: Scene, first: int) -> list[Track]:
    """Objects in straight motion that are wholly in view in three frames or more from `first` on."""
    return [
        track
        for track in scene.shots[0].tracks
        if track.motion is Motion.STRAIGHT and (track.visible[first:] > _WHOLE).sum() >= _LEAST_MADE
    ]


def steady(scene: Scene, clip: Video, first: int) -> float:
    """1 where each object that the caption names moves with one velocity in both halves of the time it is seen, else 0.

    `clip` uint8 (T, H, W, 3) was made for the scene.
    """
    there = objects(clip, scene.shape.fps)
    for track in scene.shots[0].tracks:
        if track.motion is not Motion.STRAIGHT:
            continue
        centres = places(there.get(track.appearance.colour), scene.shape.frames)
        seen = np.flatnonzero(~np.isnan(centres[:, 0]))
        if len(seen) < 2 * _LEAST_MADE:
            return 0.0
        middle = int(seen[len(seen) // 2])
        one, other = (velocity(centres, *span, scene.shape.fps) for span in ((0, middle), (middle, len(centres))))
        if one is None or other is None or not _alike(one, other, _NEAR):
            return 0.0
        if np.linalg.norm(one) < _MOVES * np.linalg.norm(track.velocities[0]):
            return 0.0
    return 1.0


def _seen_for_long(scene: Scene, first: int) -> bool:
    """Shapes that leave the frame early leave no two velocities to compare."""
    return all((track.visible > _WHOLE).sum() >= 2 * _LEAST_MADE for track in scene.shots[0].tracks)


def _alike(one: Floats, other: Floats, share: float) -> bool:
    return float(np.linalg.norm(one - other)) <= share * max(float(np.linalg.norm(one)), 1e-9)


def reflects(scene: Scene, clip: Video, first: int) -> float:
    """1 where the object turns back at walls, each time with its angle and its speed, and goes on, else 0.

    `clip` uint8 (T, H, W, 3) was made for the scene.
    """
    track = scene.shots[0].tracks[0]
    thing = objects(clip, scene.shape.fps).get(track.appearance.colour)
    if thing is None or not thing.bounces:
        return 0.0
    centres = places(thing, scene.shape.frames)
    moments = [0.0, *(bounce.frame for bounce in thing.bounces), float(scene.shape.frames)]
    if velocity(centres, max(first, int(np.ceil(moments[-2]))), scene.shape.frames, scene.shape.fps) is None:
        return 0.0
    ways = [velocity(centres, int(np.ceil(a)), int(np.ceil(b)), scene.shape.fps) for a, b in pairwise(moments)]
    for bounce, (before, after) in zip(thing.bounces, pairwise(ways), strict=True):
        if before is None or after is None or not _mirrored(before, after, bounce.wall):
            return 0.0
    return 1.0


def _mirrored(before: Floats, after: Floats, wall: str) -> bool:
    expected = before * (np.array([-1, 1]) if wall in ("left", "right") else np.array([1, -1]))
    speeds = [float(np.linalg.norm(way)) for way in (expected, after)]
    if min(speeds) == 0 or abs(speeds[1] / speeds[0] - 1) > _SPEED:
        return False
    cosine = float(expected @ after) / (speeds[0] * speeds[1])
    return bool(np.degrees(np.arccos(np.clip(cosine, -1, 1))) <= _ANGLE)


def falls(scene: Scene, clip: Video, first: int, *, same_gravity: bool) -> float:
    """1 where the object falls with one acceleration, that of the scene or else any of the world's, else 0.

    `clip` uint8 (T, H, W, 3) was generated for the scene from frame `first` on. Every flight that can be read must be a
    parabola of such an acceleration, and at least one must be generated.
    """
    track, gravity = scene.shots[0].tracks[0], scene.shots[0].gravity
    thing = objects(clip, scene.shape.fps).get(track.appearance.colour)
    if thing is None or thing.fall is None or gravity is None:
        return 0.0
    side = scene.shape.side
    least, most = (gravity, gravity) if same_gravity else tuple(side * limit for limit in GRAVITY_RANGE)
    per_frame = 2 * scene.shape.fps**2
    bends = ((1 - _NEAR) * least / per_frame, (1 + _NEAR) * most / per_frame)
    heights = places(thing, scene.shape.frames)[:, 1]
    seen_flights = flights(heights, thing.fall.touches, side)
    right = all(_off_parabola(flight, heights[flight], bends) <= _PARABOLA * side for flight in seen_flights)
    return float(right and any(_is_made(flight, first) for flight in seen_flights))


def flights(heights: Floats, touches: Sequence[float], side: int) -> list[Places]:
    """Frames of each flight between touches of the floor in which an object is in the air, where they are enough.

    `heights` (T,) are measured downwards, NaN where the object is not seen.
    """
    if np.isnan(heights).all():
        return []
    air = heights < np.nanmax(heights) - _GROUND * side
    frames = np.arange(len(heights))
    # The frame of a touch may lie on either side of it, and belongs to no flight.
    moments = [-1.0, *touches, float(len(heights))]
    every = [np.flatnonzero(air & (a < frames) & (frames < b)) for a, b in pairwise(moments)]
    return [flight for flight in every if len(flight) >= _LEAST_FLIGHT]


def _is_made(flight: Places, first: int) -> bool:
    return bool((flight >= first).sum() >= _LEAST_MADE)


def _asks_to_fly(scene: Scene, first: int) -> bool:
    """Whether the law tells a flight long enough from frame `first` on."""
    track = scene.shots[0].tracks[0]
    touches = [time * scene.shape.fps for time in track.touches]
    true = flights(track.positions[:, 1], touches, scene.shape.side)
    return any(_is_made(flight, first) for flight in true)


def _off_parabola(frames: Places, heights: Floats, bends: tuple[float, float]) -> float:
    """Root mean square distance in pixels to the nearest parabola that bends by an amount within `bends`."""
    least, most = bends
    bend = min(max(float(np.polyfit(frames, heights, 2)[0]), least), most)
    rest = heights - bend * frames**2
    return float(np.sqrt(np.mean((np.polyval(np.polyfit(frames, rest, 1), frames) - rest) ** 2)))


_STEADINESS: Final = Law(
    STEADY,
    "asked in words, each object keeps its velocity: halves of its way differ by 20 % at most",
    steady,
    _seen_for_long,
)
_REFLECTION: Final = Law(
    REFLECTION, "objects turn back at walls with their angle (10 degrees) and their speed (15 %)", reflects
)


def _gravity(*, same: bool) -> Law:
    meaning = "objects fly along parabolas (2 % of the frame) with the gravity of the scene (20 %)"
    return Law(GRAVITY, meaning, partial(falls, same_gravity=same), _asks_to_fly)


def examine(examination: EvaluationContext) -> Section:
    """Raises `SkippedSection` where nothing in the model's world moves by a law that can be marked."""
    kinds = examination.kinds()
    rows: list[Row] = []
    curves: list[Curve] = []
    sheets: list[ContactSheet] = []
    straight = [kind for kind in (SceneKind.SIMPLE, SceneKind.SEVERAL) if kind in kinds]
    extends = examination.can(Task.EXTEND)
    if straight and extends:
        found, curves = _velocity_rows(examination, straight, sheets)
        rows += found
    if straight and examination.can(Task.TEXT):
        rows += _law_rows(examination, straight, _STEADINESS, given=False)
    if SceneKind.BOUNCE in kinds:
        rows += _law_rows(examination, [SceneKind.BOUNCE], _REFLECTION, given=extends)
    if SceneKind.GRAVITY in kinds:
        rows += _law_rows(examination, [SceneKind.GRAVITY], _gravity(same=extends), given=extends)
    if not rows:
        raise SkippedSection("Nothing in the model's world moves straight ahead, bounces or falls within its own clip.")
    remarks = [] if extends else ["Not trained to extend, so asked in words: how fast objects should be is not told."]
    remarks += [_TAUGHT] if curves else []
    return Section(
        title="Motion",
        question="Do things move by the laws of their world, also at speeds that training never showed?",
        rows=tuple(rows),
        curves=tuple(curves),
        remarks=tuple(remarks),
        sheets=tuple(sheets),
    )


def _velocity_rows(
    examination: EvaluationContext, kinds: Sequence[SceneKind], sheets: list[ContactSheet]
) -> tuple[list[Row], list[Curve]]:
    """Rows of each group of scenes, with simple ones at speeds that the training does not show, by bands of these."""
    first, few = given_frames(examination.shape.frames), max(2, examination.plan.completions // 2)
    groups = examination.groups(kinds, examination.plan.completions)
    simple = [scene for scene in groups[SEEN] if scene.kind is SceneKind.SIMPLE]
    bands = {factor: [rescaled(scene, factor) for scene in simple[:few]] for factor in _OTHER_SPEEDS if simple}
    rows: list[Row] = []
    for group, all_scenes in (groups | {band(factor): scenes for factor, scenes in bands.items()}).items():
        scenes = [scene for scene in all_scenes if followed(scene, first)]
        clips, truth = examination.extend(scenes, [first] * len(scenes)), true_clips(scenes)
        made, true, ignoring = (
            [velocity_errors(scene, clip, first) for scene, clip in zip(scenes, of, strict=True)]
            for of in (clips, truth, spliced(truth, [first] * len(truth)))
        )
        rows += _error_rows(made, true, ignoring, group)
        if group == SEEN or group in map(band, bands):
            sheets.append(_sheet(f"Given {first} frames, {group}", scenes, clips, made))
    return rows, [_by_speed(rows, bands)] if bands else []


def _by_speed(rows: Sequence[Row], bands: Mapping[float, object]) -> Curve:
    """How often velocity is kept at each speed, and where the training's own is."""
    kept = {row.group: row for row in rows if row.name == KEPT}
    by_factor = {factor: kept[band(factor)] for factor in bands if band(factor) in kept} | {1.0: kept[SEEN]}
    factors = sorted(by_factor)
    beside = {
        "true clips": tuple(_value(by_factor[factor].floor) for factor in factors),
        "ignoring the input": tuple(_value(by_factor[factor].ignoring) for factor in factors),
    }
    return Curve(
        name=KEPT,
        across="speed, as a multiple of the one that the training shows (0.9 to 1.1)",
        x=tuple(factors),
        y=tuple(by_factor[factor].score.value for factor in factors),
        beside=beside,
    )


def _value(score: Score | None) -> float:
    return score.value if score else 0.0


def spliced(truth: Sequence[Video], given: Sequence[int]) -> list[Video]:
    """Each true clip (T, H, W, 3) up to its given frames, then the next clip: what ignores its input makes of it."""
    others = [*truth[1:], *truth[:1]]
    return [np.concatenate((mine[:n], other[n:])) for mine, other, n in zip(truth, others, given, strict=True)]


def _error_rows(
    errors: Sequence[Sequence[float]],
    truth: Sequence[Sequence[float]],
    ignored: Sequence[Sequence[float]],
    group: str,
) -> list[Row]:
    kept, floor, ignoring = ([float(max(clip) <= _NEAR) for clip in of] for of in (errors, truth, ignored))
    score, of_errors = mean(kept), median([max(clip) for clip in errors])
    if score is None or of_errors is None:
        return []
    unreadable = sum(error == _LOST for clip in errors for error in clip)
    return [
        Row(
            name=KEPT,
            group=group,
            meaning="given the beginning, every object goes on with its velocity (within 20 %)",
            score=score,
            floor=mean(floor),
            ignoring=mean(ignoring),
            unreadable=unreadable,
        ),
        Row(
            name=ERROR,
            group=group,
            meaning="how far a velocity is from the true one, as a share of it (median of clips)",
            score=of_errors,
            floor=median([max(clip) for clip in truth]),
            ignoring=median([max(clip) for clip in ignored]),
            unreadable=unreadable,
            better="lower",
            unit="ratio",
        ),
    ]


def _law_rows(examination: EvaluationContext, kinds: Sequence[SceneKind], law: Law, *, given: bool) -> list[Row]:
    rows = []
    plan = examination.plan
    first = given_frames(examination.shape.frames) if given else 0
    for group, all_scenes in examination.groups(kinds, plan.completions if given else plan.clips).items():
        scenes = [scene for scene in all_scenes if law.asks(scene, first)]
        truth = true_clips(scenes)
        if given:
            clips = examination.extend(scenes, [first] * len(scenes))
        else:
            clips = examination.draw([scene.captions.short for scene in scenes], [scene.shape for scene in scenes])
        score, floor, ignoring = (
            mean([law.judge(scene, clip, first) for scene, clip in zip(scenes, of, strict=True)])
            for of in (clips, truth, spliced(truth, [first] * len(truth)))
        )
        if score is not None:
            row = Row(name=law.name, group=group, meaning=law.meaning, score=score, floor=floor)
            rows.append(row.model_copy(update={"ignoring": ignoring}) if given else row)
    return rows


def _sheet(
    title: str, scenes: Sequence[Scene], clips: Sequence[Video], errors: Sequence[Sequence[float]]
) -> ContactSheet:
    shown = [
        ReportClip(scene.captions.short, clip, max(off) <= _NEAR)
        for scene, clip, off in list(zip(scenes, clips, errors, strict=True))[:_SHOWN]
    ]
    return ContactSheet(title, tuple(shown))
