"""Do things move by the laws of the world: with one velocity, mirrored at walls, under constant gravity.

A model that was trained to extend is given the beginning, which fixes all that follows. Others are asked in words, and
only what holds for every clip can be marked then. PhyWorld (arXiv:2411.02385) measures velocities in and out of the
trained range alike, and expects them to fail outside.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Final

import numpy as np

from kinema_model.evaluation.bootstrap import mean, median
from kinema_model.evaluation.plan import SEEN, Absent, Examination, true_clips
from kinema_model.evaluation.report import Row, Section, Sheet, Shown
from kinema_model.evaluation.tracking import Floats, objects, places, velocity
from kinema_model.reader import ObjectReading
from kinema_model.tasks import Task
from kinema_model.world import Motion, Scene, SceneKind, Track, Video
from kinema_model.world.moving import GRAVITY_RANGE
from kinema_model.world.scene import visible_share

BEYOND: Final = "speeds beyond training"
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
# What an object that cannot be read is off by: as much as one that stands still.
_LOST: Final = 1.0
_GIVEN_SHARE: Final = 0.375
_LEAST_MADE: Final = 3
_WHOLE: Final = 1 - 1e-9
# Simple scenes all move about as fast; these factors lie outside what they show.
_SLOWER, _FASTER = 0.6, 1.4
_SHOWN: Final = 6

Judge = Callable[[Scene, Video], float]


def given_frames(frames: int) -> int:
    """How much of a clip is given when motion is asked for: enough to tell a velocity, less than half."""
    return max(2, round(_GIVEN_SHARE * frames))


def rescaled(scene: Scene, factor: float) -> Scene:
    """A simple scene with its motion so many times as fast."""
    (shot,) = scene.shots
    tracks = []
    for track in shot.tracks:
        path = track.positions[0] + factor * (track.positions - track.positions[0])
        seen = visible_share(track.look, path, None, scene.shape)
        moved = replace(track, positions=path, world_positions=path, velocities=factor * track.velocities, visible=seen)
        tracks.append(moved)
    return replace(scene, shots=(replace(shot, tracks=tuple(tracks)),))


def velocity_errors(scene: Scene, clip: Video, first: int) -> list[float]:
    """|v - v_true| / |v_true| of each moving object that truth shows long enough from frame `first` on."""
    errors = []
    there = objects(clip, scene.shape.fps)
    for track in followed(scene, first):
        told = velocity(
            places(there.get(track.look.colour), scene.shape.frames), first, scene.shape.frames, scene.shape.fps
        )
        true = track.velocities[0]
        off = _LOST if told is None else float(np.linalg.norm(told - true) / np.linalg.norm(true))
        errors.append(off)
    return errors


def followed(scene: Scene, first: int) -> list[Track]:
    """Objects in straight motion that are wholly in view in three frames or more from `first` on."""
    return [
        track
        for track in scene.shots[0].tracks
        if track.motion is Motion.STRAIGHT and (track.visible[first:] > _WHOLE).sum() >= _LEAST_MADE
    ]


def steady(scene: Scene, clip: Video) -> float:
    """1 where each object that the caption names has one velocity in both halves of the time it is seen, else 0."""
    there = objects(clip, scene.shape.fps)
    for track in scene.shots[0].tracks:
        if track.motion is not Motion.STRAIGHT:
            continue
        centres = places(there.get(track.look.colour), scene.shape.frames)
        seen = np.flatnonzero(~np.isnan(centres[:, 0]))
        if len(seen) < 2 * _LEAST_MADE:
            return 0.0
        middle = int(seen[len(seen) // 2])
        one, other = (velocity(centres, *span, scene.shape.fps) for span in ((0, middle), (middle, len(centres))))
        if one is None or other is None or not _alike(one, other, _NEAR):
            return 0.0
    return 1.0


def _seen_for_long(scene: Scene) -> bool:
    return all((track.visible > _WHOLE).sum() >= 2 * _LEAST_MADE for track in scene.shots[0].tracks)


def _alike(one: Floats, other: Floats, share: float) -> bool:
    return float(np.linalg.norm(one - other)) <= share * max(float(np.linalg.norm(one)), 1e-9)


def reflects(scene: Scene, clip: Video) -> float:
    """1 where the object turns back at walls, each time with its angle and its speed, else 0."""
    track = scene.shots[0].tracks[0]
    thing = objects(clip, scene.shape.fps).get(track.look.colour)
    if thing is None or not thing.bounces:
        return 0.0
    centres = places(thing, scene.shape.frames)
    moments = [0.0, *(bounce.frame for bounce in thing.bounces), float(scene.shape.frames)]
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


def falls(scene: Scene, clip: Video, *, same_gravity: bool) -> float:
    """1 where the object falls with one acceleration, that of the scene or else any of the world's, else 0."""
    track, gravity = scene.shots[0].tracks[0], scene.shots[0].gravity
    thing = objects(clip, scene.shape.fps).get(track.look.colour)
    if thing is None or thing.fall is None or gravity is None:
        return 0.0
    side = scene.shape.side
    least, most = (gravity, gravity) if same_gravity else tuple(side * limit for limit in GRAVITY_RANGE)
    within = (1 - _NEAR) * least <= thing.fall.acceleration <= (1 + _NEAR) * most
    return float(within and _off_parabola(thing, scene.shape.frames) <= _PARABOLA * side)


def _off_parabola(thing: ObjectReading, frames: int) -> float:
    """Root mean square distance in pixels of the first flight to its parabola."""
    assert thing.fall is not None
    end = int(thing.fall.touches[0]) if thing.fall.touches else frames
    heights = places(thing, frames)[:end, 1]
    times = np.flatnonzero(~np.isnan(heights))
    moving = times[np.concatenate(([True], np.diff(heights[times]) > 0))] if len(times) else times
    if len(moving) < _LEAST_MADE + 1:
        return np.inf
    fit = np.polyfit(moving, heights[moving], 2)
    return float(np.sqrt(np.mean((np.polyval(fit, moving) - heights[moving]) ** 2)))


def examine(examination: Examination) -> Section:
    """Raises `Absent` where nothing in the model's world moves by a law that can be marked."""
    kinds = examination.kinds()
    rows: list[Row] = []
    sheets: list[Sheet] = []
    straight = [kind for kind in (SceneKind.SIMPLE, SceneKind.SEVERAL) if kind in kinds]
    extends = examination.can(Task.EXTEND)
    if straight and extends:
        rows += _velocity_rows(examination, straight, sheets)
    if straight and examination.can(Task.TEXT):
        meaning = "asked in words, each object keeps its velocity: halves of its way differ by 20 % at most"
        rows += _law_rows(examination, straight, STEADY, meaning, steady, given=False)
    if SceneKind.BOUNCE in kinds:
        meaning = "objects turn back at walls with their angle (10 degrees) and their speed (15 %)"
        rows += _law_rows(examination, [SceneKind.BOUNCE], REFLECTION, meaning, reflects, given=extends)
    if SceneKind.GRAVITY in kinds:
        meaning = "objects fall along a parabola (2 % of the frame) with the gravity of the scene (20 %)"
        judge = partial(falls, same_gravity=extends)
        rows += _law_rows(examination, [SceneKind.GRAVITY], GRAVITY, meaning, judge, given=extends)
    if not rows:
        raise Absent("Nothing in the model's world moves straight ahead, bounces or falls within its own clip.")
    remarks = [] if extends else ["Not trained to extend, so asked in words: how fast objects should be is not told."]
    return Section(
        title="Motion",
        question="Do things move by the laws of their world, also at speeds that training never showed?",
        rows=tuple(rows),
        remarks=tuple(remarks),
        sheets=tuple(sheets),
    )


def _velocity_rows(examination: Examination, kinds: Sequence[SceneKind], sheets: list[Sheet]) -> list[Row]:
    first = given_frames(examination.shape.frames)
    groups = examination.groups(kinds, examination.plan.completions)
    simple = [scene for scene in groups[SEEN] if scene.kind is SceneKind.SIMPLE]
    if simple:
        groups[BEYOND] = [rescaled(scene, (_SLOWER, _FASTER)[place % 2]) for place, scene in enumerate(simple)]
    rows: list[Row] = []
    for group, all_scenes in groups.items():
        scenes = [scene for scene in all_scenes if followed(scene, first)]
        clips = examination.extend(scenes, [first] * len(scenes))
        errors = [velocity_errors(scene, clip, first) for scene, clip in zip(scenes, clips, strict=True)]
        truth = [velocity_errors(scene, clip, first) for scene, clip in zip(scenes, true_clips(scenes), strict=True)]
        rows += _error_rows(errors, truth, group)
        if group in (SEEN, BEYOND):
            sheets.append(_sheet(f"Given {first} frames, {group}", scenes, clips, errors))
    return rows


def _error_rows(errors: Sequence[Sequence[float]], truth: Sequence[Sequence[float]], group: str) -> list[Row]:
    kept, floor = ([float(max(clip) <= _NEAR) for clip in of] for of in (errors, truth))
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
            unreadable=unreadable,
        ),
        Row(
            name=ERROR,
            group=group,
            meaning="how far a velocity is from the true one, as a share of it (median of clips)",
            score=of_errors,
            floor=median([max(clip) for clip in truth]),
            unreadable=unreadable,
            better="lower",
            unit="ratio",
        ),
    ]


def _law_rows(
    examination: Examination, kinds: Sequence[SceneKind], name: str, meaning: str, judge: Judge, *, given: bool
) -> list[Row]:
    rows = []
    plan = examination.plan
    for group, all_scenes in examination.groups(kinds, plan.completions if given else plan.clips).items():
        # Shapes that leave the frame early leave no two velocities to compare.
        scenes = [scene for scene in all_scenes if judge is not steady or _seen_for_long(scene)]
        if given:
            first = given_frames(examination.shape.frames)
            clips = examination.extend(scenes, [first] * len(scenes))
        else:
            clips = examination.draw([scene.captions.short for scene in scenes], [scene.shape for scene in scenes])
        score = mean([judge(scene, clip) for scene, clip in zip(scenes, clips, strict=True)])
        floor = mean([judge(scene, clip) for scene, clip in zip(scenes, true_clips(scenes), strict=True)])
        if score is not None:
            rows.append(Row(name=name, group=group, meaning=meaning, score=score, floor=floor))
    return rows


def _sheet(title: str, scenes: Sequence[Scene], clips: Sequence[Video], errors: Sequence[Sequence[float]]) -> Sheet:
    shown = [
        Shown(scene.captions.short, clip, max(off) <= _NEAR)
        for scene, clip, off in list(zip(scenes, clips, errors, strict=True))[:_SHOWN]
    ]
    return Sheet(title, tuple(shown))
