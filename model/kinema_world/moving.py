"""Makers of scenes of motion: straight, off walls, under gravity, and into one another.

A maker takes a random generator and the shape of the clip and returns the shots, or None for a scene that cannot be
read from pixels (an event in the last frame, two events at once, objects on top of each other).
"""

from typing import Final

import numpy as np

from kinema_world.casting import (
    LEAST_TRAVEL,
    apart,
    draw_appearances,
    draw_speed,
    draw_start,
    inside,
    pick,
    track_of,
    unit,
)
from kinema_world.motion import (
    Bounce,
    Floats,
    Trajectory,
    bouncing,
    elastic,
    falling,
    rebounds,
    straight,
)
from kinema_world.scene import Appearance, ClipShape, Collision, SceneShot, Track
from kinema_world.vocabulary import (
    DIAGONALS,
    DIRECTIONS,
    PLAIN_BACKGROUNDS,
    Motion,
    combinations,
    heading_of,
)

_SIMPLE: Final = tuple(combinations())
# Simple scenes, in shares of the shorter side of the frame.
RADIUS_RANGE: Final = (0.22, 0.25)
_TRAVEL: Final = (0.27, 0.33)
_JITTER: Final = 0.03
# Between two events, and between an event and an end of the clip, in frames.
_EVENT_GAP: Final = 3.0
_MOST_BOUNCES: Final = 3
_TILT: Final = (35.0, 55.0)
# Gravity in shorter sides per second squared, first drop and least rebound in shorter sides.
GRAVITY_RANGE: Final = (1.2, 2.4)
_DROP: Final = (0.3, 0.65)
_RESTITUTION: Final = (0.55, 0.75)
LEAST_RISE: Final = 0.08
_LEAST_DROP_SEEN: Final = 0.12
_LEAST_RISE_SEEN: Final = 0.03
# Share of the radii's sum by which a collision is off centre.
_OFF_CENTRE: Final = 0.25
# When discs collide, in shares of the clip.
_MEETING: Final = (0.3, 0.65)


def times_of(shape: ClipShape) -> Floats:
    """Seconds from the first frame (T,)."""
    return np.arange(shape.frames) / shape.fps


def one_shot(
    draw: np.random.Generator,
    shape: ClipShape,
    tracks: tuple[Track, ...],
    *,
    gravity: float | None = None,
    collision: Collision | None = None,
) -> tuple[SceneShot, ...]:
    """A clip of one shot before a plain background, seen by a camera at rest."""
    background = pick(draw, PLAIN_BACKGROUNDS)
    still = np.zeros((shape.frames, 2))
    return (SceneShot(0, shape.frames, background, tracks, still, gravity=gravity, collision=collision),)


def make_simple(draw: np.random.Generator, shape: ClipShape) -> tuple[SceneShot, ...]:
    """One shape over black that starts near the centre and crosses a third of the shorter side, at any rate."""
    attributes = _SIMPLE[int(draw.integers(len(_SIMPLE)))]
    colour, outline, direction = str(attributes.colour), str(attributes.shape), str(attributes.direction)
    radius = shape.side * draw.uniform(*RADIUS_RANGE)
    travel = shape.side * draw.uniform(*_TRAVEL)
    start = np.array([shape.width, shape.height]) / 2 + shape.side * draw.uniform(-_JITTER, _JITTER, size=2)
    whole = travel * unit(direction)
    path = start + np.linspace(0, 1, shape.frames)[:, None] * whole
    velocity = whole * shape.fps / max(shape.frames - 1, 1)
    trajectory = Trajectory(path, np.broadcast_to(velocity, path.shape))
    track = track_of(
        Appearance(colour, outline, None, float(radius)), Motion.STRAIGHT, direction, None, trajectory, shape
    )
    return (SceneShot(0, shape.frames, "black", (track,), np.zeros((shape.frames, 2))),)


def draw_straight(draw: np.random.Generator, appearance: Appearance, shape: ClipShape) -> Track | None:
    """An object that moves along an axis and stays in the frame."""
    heading = pick(draw, tuple(DIRECTIONS))
    axis = 0 if heading in ("left", "right") else 1
    low, high = inside(appearance, shape)[axis]
    speed = draw_speed(draw, LEAST_TRAVEL / shape.seconds, (high - low) / shape.side / shape.seconds)
    if speed is None:
        return None
    trajectory = straight(np.zeros(2), speed * shape.side * unit(heading), times_of(shape))
    start = draw_start(draw, appearance, shape, trajectory.positions)
    if start is None:
        return None
    moved = Trajectory(start + trajectory.positions, trajectory.velocities)
    return track_of(appearance, Motion.STRAIGHT, heading, speed, moved, shape)


def make_several(draw: np.random.Generator, shape: ClipShape) -> tuple[SceneShot, ...] | None:
    """Two or three objects, each straight ahead, that never touch."""
    count = int(draw.integers(2, 4))
    sizes = ("small", "medium", "large") if count == 2 else ("small", "medium")
    appearances = draw_appearances(draw, shape.side, count, sizes=sizes)
    tracks = [track for appearance in appearances if (track := draw_straight(draw, appearance, shape)) is not None]
    if len(tracks) < count or not apart(tracks, shape.side):
        return None
    return one_shot(draw, shape, tuple(tracks))


def make_bounce(draw: np.random.Generator, shape: ClipShape) -> tuple[SceneShot, ...] | None:
    """One object that bounces off the frame's walls, once to three times."""
    (appearance,) = draw_appearances(draw, shape.side, 1)
    heading = pick(draw, (*DIRECTIONS, *DIAGONALS))
    direction = np.array((DIRECTIONS | DIAGONALS)[heading], dtype=np.float64)
    if heading in DIAGONALS:
        tilt = np.radians(draw.uniform(*_TILT))
        direction *= np.array([np.cos(tilt), np.sin(tilt)])
    box = inside(appearance, shape)
    room = max(high - low for low, high in box) / shape.side
    speed = draw_speed(draw, 0.5 * room / shape.seconds, 2.5 * room / shape.seconds)
    if speed is None:
        return None
    start = np.array([draw.uniform(low, high) for low, high in box])
    trajectory = bouncing(start, speed * shape.side * direction, box, times_of(shape))
    if not 1 <= len(trajectory.bounces) <= _MOST_BOUNCES or not _spaced(trajectory.bounces, speed, shape):
        return None
    return one_shot(draw, shape, (track_of(appearance, Motion.BOUNCE, heading, speed, trajectory, shape),))


def _spaced(bounces: tuple[Bounce, ...], speed: float, shape: ClipShape) -> bool:
    """Whether bounces lie far enough from one another and from both ends of the clip, in frames and in pixels."""
    moments = np.array([0.0, *(bounce.time for bounce in bounces), shape.seconds])
    least = float(np.diff(moments).min())
    return least * shape.fps >= _EVENT_GAP and least * speed >= LEAST_TRAVEL


def make_gravity(draw: np.random.Generator, shape: ClipShape) -> tuple[SceneShot, ...] | None:
    """One object that falls from rest and, if the clip is long enough, bounces with loss and comes to rest."""
    (appearance,) = draw_appearances(draw, shape.side, 1)
    (left, right), (top, floor) = inside(appearance, shape)
    drop, gravity = (float(draw.uniform(*limits)) * shape.side for limits in (_DROP, GRAVITY_RANGE))
    restitution = float(draw.uniform(*_RESTITUTION))
    if floor - drop < top:
        return None
    law = (drop, gravity, restitution, LEAST_RISE * shape.side)
    times = times_of(shape)
    heights, upwards = falling(*law, times)
    touches = tuple(time for time in rebounds(*law) if time <= shape.seconds)
    if not _fall_seen(heights, touches, len(rebounds(*law)), shape):
        return None
    column = float(draw.uniform(left, right))
    trajectory = Trajectory(
        np.stack((np.full(shape.frames, column), floor - heights), axis=1),
        np.stack((np.zeros(shape.frames), -upwards), axis=1),
    )
    counted = min(len(touches), len(rebounds(*law)) - 1)
    track = track_of(appearance, Motion.FALL, None, None, trajectory, shape, touches=touches, rebounds=counted)
    return one_shot(draw, shape, (track,), gravity=gravity)


def _fall_seen(heights: Floats, touches: tuple[float, ...], all_touches: int, shape: ClipShape) -> bool:
    """Whether the fall goes far enough, and the last rebound in the clip is more than its first moment."""
    if heights[0] - heights.min() < _LEAST_DROP_SEEN * shape.side:
        return False
    if not touches or len(touches) == all_touches:
        return True
    since = heights[np.arange(shape.frames) / shape.fps >= touches[-1]]
    left = (shape.seconds - touches[-1]) * shape.fps
    return bool(left >= _EVENT_GAP and since.max() >= _LEAST_RISE_SEEN * shape.side)


def make_collide(draw: np.random.Generator, shape: ClipShape) -> tuple[SceneShot, ...] | None:
    """A disc that runs into another one at rest; masses are equal, or go by area."""
    appearances = draw_appearances(draw, shape.side, 2, sizes=("small", "medium"), shape="circle")
    masses = (1.0, 1.0) if draw.integers(2) else (appearances[0].radius ** 2, appearances[1].radius ** 2)
    heading = pick(draw, tuple(DIRECTIONS))
    longest = 1.5 * max(shape.height, shape.width) / shape.side
    speed = draw_speed(draw, LEAST_TRAVEL / _MEETING[0] / shape.seconds, longest / shape.seconds)
    if speed is None:
        return None
    before, reach = speed * shape.side * unit(heading), appearances[0].radius + appearances[1].radius
    meeting = shape.seconds * float(draw.uniform(*_MEETING))
    across = reach * float(draw.uniform(-_OFF_CENTRE, _OFF_CENTRE))
    normal = unit(heading) * np.sqrt(1 - (across / reach) ** 2) + unit(heading)[::-1] * across / reach
    after = elastic(normal, (before, np.zeros(2)), masses)
    ways = (
        _broken(np.zeros(2), before, after[0], meeting, shape),
        _broken(reach * normal + before * meeting, np.zeros(2), after[1], meeting, shape),
    )
    trajectories = _both_inside(draw, appearances, ways, shape)
    struck = heading_of(*after[1])
    travel = np.linalg.norm(after[1]) * (shape.seconds - meeting)
    spaced = min(meeting, shape.seconds - meeting) * shape.fps >= _EVENT_GAP
    if trajectories is None or struck is None or travel < LEAST_TRAVEL * shape.side or not spaced:
        return None
    tracks = (
        track_of(appearances[0], Motion.HIT, heading, speed, trajectories[0], shape),
        track_of(appearances[1], Motion.STRUCK, struck, None, trajectories[1], shape),
    )
    return one_shot(draw, shape, tracks, collision=Collision(meeting, (0, 1)))


def _broken(start: Floats, before: Floats, after: Floats, time: float, shape: ClipShape) -> Trajectory:
    """Straight ahead with one velocity until `time`, and with another from then on."""
    times = times_of(shape)[:, None]
    positions = start + np.where(times < time, times * before, time * before + (times - time) * after)
    return Trajectory(positions, np.where(times < time, before, after))


def _both_inside(
    draw: np.random.Generator,
    appearances: list[Appearance],
    trajectories: tuple[Trajectory, Trajectory],
    shape: ClipShape,
) -> tuple[Trajectory, Trajectory] | None:
    """Both trajectories moved by one offset so that both discs stay in the frame, or None where they cannot."""
    offset = np.empty(2)
    for axis in (0, 1):
        limits = [inside(appearance, shape)[axis] for appearance in appearances]
        paths = [trajectory.positions[:, axis] for trajectory in trajectories]
        least = max(low - path.min() for (low, _), path in zip(limits, paths, strict=True))
        most = min(high - path.max() for (_, high), path in zip(limits, paths, strict=True))
        if least > most:
            return None
        offset[axis] = draw.uniform(least, most)
    first, second = (Trajectory(trajectory.positions + offset, trajectory.velocities) for trajectory in trajectories)
    return first, second
