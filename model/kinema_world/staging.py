"""Makers of scenes with screens, camera motion, trails, cuts and single frames.

As in `moving`, a maker returns None for a scene that cannot be read from pixels.
"""

from dataclasses import replace
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
from kinema_world.motion import Floats, Trajectory, straight
from kinema_world.moving import draw_straight, one_shot, times_of
from kinema_world.scene import Appearance, ClipShape, Rectangle, SceneShot, Track
from kinema_world.vocabulary import (
    COLOURS,
    DIRECTIONS,
    LANDMARKS,
    PLAIN_BACKGROUNDS,
    SCENERY_BACKGROUNDS,
    SCREEN,
    Motion,
)

# Frames for which an object is wholly seen at both ends, and wholly hidden in between.
_FRAMES_SEEN: Final = 1.2
_FRAMES_HIDDEN: Final = 2.0
_STILL_SHARE: Final = 0.5
# Landmarks stand in cells of this share of the shorter side; some cells stay empty, so that no pan looks periodic.
_CELL: Final = 0.28
_EMPTY_SHARE: Final = 0.25
_HALF_SIZES: Final = (0.06, 0.105)
# What a brush travels beyond its own radius, in shares of the shorter side, so that its trail is visible.
_LEAST_TRAIL: Final = 0.2
_CUT: Final = (0.38, 0.62)


def make_occlude(draw: np.random.Generator, shape: ClipShape) -> tuple[SceneShot, ...] | None:
    """One object that passes wholly behind a screen and comes out again."""
    (appearance,) = draw_appearances(draw, shape.side, 1, sizes=("small", "medium"))
    heading = pick(draw, tuple(DIRECTIONS))
    axis = 0 if heading in ("left", "right") else 1
    low, high = inside(appearance, shape)[axis]
    extent = (shape.width, shape.height)[axis] - (high - low)
    most = (high - low) / shape.side / shape.seconds
    # Behind the screen and clear of it on both sides: twice its own length and the frames asked for.
    clear = 1 - (2 * _FRAMES_SEEN + _FRAMES_HIDDEN) / (shape.frames - 1)
    speed = draw_speed(draw, 2 * extent / clear / shape.side / shape.seconds, most)
    if speed is None:
        return None
    trajectory = straight(np.zeros(2), speed * shape.side * unit(heading), times_of(shape))
    start = draw_start(draw, appearance, shape, trajectory.positions)
    if start is None:
        return None
    trajectory = Trajectory(start + trajectory.positions, trajectory.velocities)
    screen = _screen(draw, appearance, axis, trajectory.positions[:, axis], speed * shape.side / shape.fps, shape)
    track = track_of(appearance, Motion.PASS, heading, speed, trajectory, shape, screen=screen)
    shot = SceneShot(
        0, shape.frames, pick(draw, SCENERY_BACKGROUNDS), (track,), np.zeros((shape.frames, 2)), screen=screen
    )
    return (shot,)


def _screen(
    draw: np.random.Generator, appearance: Appearance, axis: int, places: Floats, step: float, shape: ClipShape
) -> Rectangle:
    """A screen across the whole frame that the path (T,) starts before and ends behind; `step` in px per frame."""
    before, after = appearance.extents[2 * axis : 2 * axis + 2]
    first, last = places.min() + after + _FRAMES_SEEN * step, places.max() - before - _FRAMES_SEEN * step
    thinnest = before + after + _FRAMES_HIDDEN * step
    thickness = float(draw.uniform(thinnest, max(thinnest, min(last - first, 1.5 * thinnest))))
    begin = float(draw.uniform(first, max(first, last - thickness)))
    if axis == 0:
        return Rectangle(begin, 0, begin + thickness, shape.height, SCREEN)
    return Rectangle(0, begin, shape.width, begin + thickness, SCREEN)


def make_pan(draw: np.random.Generator, shape: ClipShape) -> tuple[SceneShot, ...] | None:
    """A camera that pans over landmarks, past one object at rest or in motion."""
    (appearance,) = draw_appearances(draw, shape.side, 1)
    pan = pick(draw, tuple(DIRECTIONS))
    longest = max(shape.height, shape.width) / shape.side / shape.seconds
    pan_speed = draw_speed(draw, LEAST_TRAVEL / shape.seconds, longest)
    if pan_speed is None:
        return None
    times = times_of(shape)
    camera = straight(np.zeros(2), pan_speed * shape.side * unit(pan), times)
    moves = draw.random() >= _STILL_SHARE
    heading = pick(draw, tuple(DIRECTIONS)) if moves else None
    speed = draw_speed(draw, LEAST_TRAVEL / shape.seconds, longest) if moves else None
    if moves and speed is None:
        return None
    velocity = unit(heading) * speed * shape.side if heading and speed else np.zeros(2)
    trajectory = straight(np.zeros(2), velocity, times)
    start = draw_start(draw, appearance, shape, trajectory.positions - camera.positions)
    if start is None:
        return None
    trajectory = Trajectory(start + trajectory.positions, trajectory.velocities)
    motion = Motion.STRAIGHT if moves else Motion.STILL
    track = track_of(appearance, motion, heading, speed, trajectory, shape, camera=camera)
    landmarks = _landmarks(draw, camera.positions, shape)
    background = pick(draw, SCENERY_BACKGROUNDS)
    return (
        SceneShot(0, shape.frames, background, (track,), camera.positions, landmarks, pan=pan, pan_speed=pan_speed),
    )


def _landmarks(draw: np.random.Generator, camera: Floats, shape: ClipShape) -> tuple[Rectangle, ...]:
    """Rectangles all over the part of the world that the camera sees; no two touch."""
    cell = _CELL * shape.side
    first = camera.min(axis=0) // cell
    last = (camera.max(axis=0) + np.array([shape.width, shape.height])) // cell
    landmarks = []
    for row in range(int(first[1]), int(last[1]) + 1):
        for column in range(int(first[0]), int(last[0]) + 1):
            half = shape.side * draw.uniform(*_HALF_SIZES, size=2)
            middle = cell * (np.array([column, row]) + 0.5) + draw.uniform(-1, 1, size=2) * (cell / 2 - half)
            left, top, right, bottom = (float(edge) for edge in (*(middle - half), *(middle + half)))
            colour = LANDMARKS[int(draw.integers(len(LANDMARKS)))]
            if draw.random() >= _EMPTY_SHARE:
                landmarks.append(Rectangle(left, top, right, bottom, colour))
    return tuple(landmarks)


def make_paint(draw: np.random.Generator, shape: ClipShape) -> tuple[SceneShot, ...] | None:
    """A brush that leaves a trail behind it, which stays."""
    (appearance,) = draw_appearances(draw, shape.side, 1, sizes=("small", "medium"))
    trail = pick(draw, [colour for colour in COLOURS if colour != appearance.colour])
    heading = pick(draw, tuple(DIRECTIONS))
    low, high = inside(appearance, shape)[0 if heading in ("left", "right") else 1]
    least = appearance.radius / shape.side + _LEAST_TRAIL
    speed = draw_speed(draw, least / shape.seconds, (high - low) / shape.side / shape.seconds)
    if speed is None:
        return None
    trajectory = straight(np.zeros(2), speed * shape.side * unit(heading), times_of(shape))
    start = draw_start(draw, appearance, shape, trajectory.positions)
    if start is None:
        return None
    trajectory = Trajectory(start + trajectory.positions, trajectory.velocities)
    return one_shot(draw, shape, (track_of(appearance, Motion.PAINT, heading, speed, trajectory, shape, trail=trail),))


def make_image(draw: np.random.Generator, shape: ClipShape) -> tuple[SceneShot, ...] | None:
    """One frame with one to three objects."""
    count = int(draw.integers(1, 4))
    sizes = ("small", "medium", "large") if count < 3 else ("small", "medium")
    tracks = _at_rest(draw, draw_appearances(draw, shape.side, count, sizes=sizes), shape, None)
    return one_shot(draw, shape, tuple(tracks)) if apart(tracks, shape.side) else None


def _at_rest(
    draw: np.random.Generator, appearances: list[Appearance], shape: ClipShape, motion: Motion | None
) -> list[Track]:
    tracks = []
    for appearance in appearances:
        start = draw_start(draw, appearance, shape, np.zeros((1, 2)))
        if start is not None:
            tracks.append(
                track_of(appearance, motion, None, None, straight(start, np.zeros(2), times_of(shape)), shape)
            )
    return tracks


def make_two_shot(draw: np.random.Generator, shape: ClipShape) -> tuple[SceneShot, ...] | None:
    """Two shots before different backgrounds; the first object of the first comes back in the second."""
    cut = round(shape.frames * float(draw.uniform(*_CUT)))
    lengths = (cut, shape.frames - cut)
    backgrounds = draw.permutation(list(PLAIN_BACKGROUNDS))[:2]
    recurring, *others = draw_appearances(draw, shape.side, 3, sizes=("small", "medium"))
    shots = []
    for number, (length, background) in enumerate(zip(lengths, backgrounds, strict=True)):
        appearances = [recurring, others[number]] if draw.integers(2) else [recurring]
        part = replace(shape, frames=length)
        tracks = _small_cast(draw, appearances, part)
        if tracks is None:
            return None
        shots.append(SceneShot(number * cut, length, str(background), tuple(tracks), np.zeros((length, 2))))
    return tuple(shots)


def _small_cast(draw: np.random.Generator, appearances: list[Appearance], shape: ClipShape) -> list[Track] | None:
    """Each object straight ahead or at rest, apart from the others."""
    tracks: list[Track] = []
    for appearance in appearances:
        moves = draw.random() >= _STILL_SHARE / 2
        found = [draw_straight(draw, appearance, shape)] if moves else _at_rest(draw, [appearance], shape, Motion.STILL)
        tracks += [track for track in found if track is not None]
    return tracks if len(tracks) == len(appearances) and apart(tracks, shape.side) else None
