"""The events of a shot, from colour tracks and trajectories: motions, bounces, occlusions, trails and contacts."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from kinema_world.reader.layers import Layer, grown
from kinema_world.reader.objects import ColourTrack
from kinema_world.reader.reading import Contact, ObjectReading, Occlusion, Point, Trail, WallBounce
from kinema_world.reader.trajectories import Piece, break_frame, fall, pieces, point_error
from kinema_world.vocabulary import FloatArray, Motion

Floats = npt.NDArray[np.float64]

# Less travel than this share of the shorter side in a whole shot is rest.
_LEAST_TRAVEL: Final = 0.04
# A wall or another object is touched within this share of the shorter side, and within the way of half a frame.
_TOUCH: Final = 0.05
# How alike two velocities must be after a mirror, as a share of the speed.
_MIRROR: Final = 0.3
# A screen differs from the background by this much, and is grey: its channels differ by less than that.
_SCREEN_CONTRAST: Final = 25.0
_SCREEN_TINT: Final = 24.0
# A trail begins under its brush and grows; its ink is at all times where it was.
_TRAIL_BEGINS: Final = 0.35
_TRAIL_GROWS: Final = 1.5
_TRAIL_STAYS: Final = 0.9
_FAINT: Final = 0.3


@dataclass(frozen=True, eq=False)
class Stage:
    """What the events of a shot are read with: pixels float (T, H, W, 3), plain background, rate and camera."""

    pixels: FloatArray
    base: FloatArray
    fps: float
    camera: Point | None

    @property
    def side(self) -> int:
        """The shorter side in pixels."""
        height, width = self.pixels.shape[1:3]
        return int(min(height, width))

    @property
    def step(self) -> Floats:
        """Motion (2,) of the view in px per frame, as (columns, rows); none where it is not known."""
        return np.array(self.camera or (0.0, 0.0))


def unmoved(colour_track: ColourTrack) -> ObjectReading:
    """The reading of an object without its motion."""
    centres = tuple(
        (float(x), float(y)) if seen else None
        for (x, y), seen in zip(colour_track.centres, colour_track.whole, strict=True)
    )
    shares = tuple(float(share) for share in colour_track.shares)
    radius = colour_track.radius if colour_track.shape else None
    return ObjectReading(colour_track.colour, colour_track.shape, colour_track.size, radius, centres, shares)


def trajectory_of(colour_track: ColourTrack, stage: Stage) -> tuple[Floats, Floats]:
    """Frames (n,) in which an object is wholly visible, and its positions (n, 2) in the world in px."""
    frames = np.flatnonzero(colour_track.whole).astype(np.float64)
    return frames, colour_track.centres[colour_track.whole] + frames[:, None] * stage.step


def alone(colour_track: ColourTrack, stage: Stage) -> ObjectReading:
    """An object that touches no other: at rest, straight ahead, off walls, falling, or behind a screen."""
    reading = unmoved(colour_track)
    frames, points = trajectory_of(colour_track, stage)
    # One frame shows no motion; and where the view moves in an unknown way, nothing in the world can be told.
    if len(frames) < 2 or stage.camera is None or not colour_track.compact:
        return reading
    if (falling := fall(frames, points, stage.side, stage.fps)) is not None:
        return replace(reading, motion=Motion.FALL, fall=falling)
    error = point_error(stage.side)
    found = pieces(frames, points, error)
    if found is None:
        return reading
    velocity = _velocity(found[0], stage)
    if len(found) > 1:
        bounces = _bounces(found, frames, colour_track, stage)
        return replace(reading, motion=Motion.BOUNCE, velocity=velocity, bounces=bounces) if bounces else reading
    travel = float(np.linalg.norm(found[0].step)) * float(frames[-1] - frames[0])
    if travel < _LEAST_TRAVEL * stage.side:
        return replace(reading, motion=Motion.STILL, velocity=(0.0, 0.0))
    occlusion = _occlusion(colour_track, found[0], stage)
    if occlusion is None and colour_track.hidden.any():
        return reading
    return replace(
        reading, motion=Motion.PASS if occlusion else Motion.STRAIGHT, velocity=velocity, occlusion=occlusion
    )


def _velocity(piece: Piece, stage: Stage) -> Point:
    return float(piece.step[0] * stage.fps), float(piece.step[1] * stage.fps)


def _bounces(
    found: list[Piece], frames: Floats, colour_track: ColourTrack, stage: Stage
) -> tuple[WallBounce, ...] | None:
    """One wall for every break, or None where a break is not a mirroring at a wall."""
    bounces = []
    for one, other in pairwise(found):
        when = break_frame(one, other)
        if when is None or not frames[one.last] - 1 <= when <= frames[other.first] + 1:
            return None
        wall = _wall(one, other, when, colour_track, stage)
        if wall is None:
            return None
        bounces.append(WallBounce(when, wall))
    return tuple(bounces)


def _wall(one: Piece, other: Piece, when: float, colour_track: ColourTrack, stage: Stage) -> str | None:
    left, right, top, bottom = colour_track.extents()
    height, width = stage.pixels.shape[1:3]
    place = one.origin + when * one.step - when * stage.step
    gaps = {
        "left": (0, -1, place[0] - left),
        "right": (0, 1, width - place[0] - right),
        "top": (1, -1, place[1] - top),
        "bottom": (1, 1, height - place[1] - bottom),
    }
    speed = float(np.linalg.norm(one.step))
    for wall, (axis, sign, gap) in gaps.items():
        mirrored = one.step.copy()
        mirrored[axis] *= -1
        alike = float(np.linalg.norm(mirrored - other.step)) < _MIRROR * speed
        if alike and sign * one.step[axis] > 0 and abs(gap) < _TOUCH * stage.side + speed / 2:
            return wall
    return None


def _occlusion(colour_track: ColourTrack, piece: Piece, stage: Stage) -> Occlusion | None:
    """The one interval in which the object is not visible, if a screen is at its position then."""
    gone = np.flatnonzero(colour_track.hidden)
    if not len(gone) or gone[0] == 0 or gone[-1] == len(colour_track.hidden) - 1 or np.any(np.diff(gone) > 1):
        return None
    places = piece.origin + gone[:, None] * (piece.step - stage.step)
    height, width = stage.pixels.shape[1:3]
    columns, rows = (np.clip(places[:, axis], 0, limit - 1).astype(int) for axis, limit in ((0, width), (1, height)))
    colours = stage.pixels[gone, rows, columns]
    # One pixel is noisy; the median over all frames is not.
    colour = np.median(colours, axis=0)
    if np.linalg.norm(colour - stage.base) < _SCREEN_CONTRAST or np.ptp(colour) > _SCREEN_TINT:
        return None
    across, down = piece.step
    sideways, upright = ("right" if across > 0 else "left"), ("bottom" if down > 0 else "top")
    exit_side = sideways if abs(across) > abs(down) else upright
    return Occlusion(int(gone[0]), int(gone[-1]), exit_side, float(gone[-1] + 1) / stage.fps)


def contact(first: ColourTrack, second: ColourTrack, stage: Stage) -> tuple[Contact, list[ObjectReading]] | None:
    """Two objects that touch and change their velocity then, the one that hits named first."""
    error = point_error(stage.side)
    colour_tracks, trajectories = (first, second), []
    for colour_track in colour_tracks:
        frames, points = trajectory_of(colour_track, stage)
        found = pieces(frames, points, error) if len(frames) > 1 else None
        if found is None or len(found) != 2:
            return None
        trajectories.append((found, break_frame(*found)))
    (one, when), (other, also) = trajectories
    if when is None or also is None or abs(when - also) > 2:
        return None
    frame = (when + also) / 2
    gap = np.linalg.norm(one[0].origin + frame * one[0].step - other[0].origin - frame * other[0].step)
    speeds = [float(np.linalg.norm(found[0].step)) for found, _ in trajectories]
    reach = (first.radius or 0) + (second.radius or 0)
    if abs(gap - reach) > _TOUCH * stage.side + max(speeds) / 2:
        return None
    order = (0, 1) if speeds[0] >= speeds[1] else (1, 0)
    readings = []
    for motion, number, part in ((Motion.HIT, order[0], 0), (Motion.STRUCK, order[1], 1)):
        velocity = _velocity(trajectories[number][0][part], stage)
        readings.append(replace(unmoved(colour_tracks[number]), motion=motion, velocity=velocity))
    return Contact(frame, (readings[0].colour, readings[1].colour)), readings


def find_trail(layers: list[Layer]) -> tuple[int, bool] | None:
    """Which of several colours is ink that a brush leaves behind, and whether it stays; None where none is.

    Ink covers little or nothing at first, and in the end much more than at any one moment is new.
    """
    for number, layer in enumerate(layers):
        inked = layer.core
        areas = inked.sum(axis=(1, 2))
        ever = np.logical_or.accumulate(inked, axis=0)
        if len(areas) < 4 or areas[0] > _TRAIL_BEGINS * areas.max():
            continue
        others = np.zeros_like(inked)
        for other in layers:
            if other is not layer:
                others |= grown(other.core, 1)
        due = ever[-1] & ~others[-1]
        stays = float(((layer.coverage[-1] > _FAINT) & due).sum()) >= _TRAIL_STAYS * float(due.sum())
        grew = float(ever[-1].sum()) >= _TRAIL_GROWS * max(float(ever[len(ever) // 3].sum()), 1.0)
        if grew and len(layers) > 1:
            return number, stays
    return None


def painting(colour_track: ColourTrack, stage: Stage, trail: Trail) -> ObjectReading:
    """The reading of a brush, with its trail."""
    reading = alone(colour_track, stage)
    return replace(reading, motion=Motion.PAINT if reading.motion is Motion.STRAIGHT else None, trail=trail)
