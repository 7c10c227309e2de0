"""Random appearances, speeds and positions of objects, for the makers of scenes.

A function returns None where no value fits; then the maker returns None too, and the world draws the scene anew.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from kinema_world.geometry import REACH
from kinema_world.motion import Floats, Trajectory
from kinema_world.scene import FRAME_NAME, SCREEN_NAME, Appearance, ClipShape, Rectangle, Track, visible_share
from kinema_world.splits import BANDS
from kinema_world.vocabulary import COLOURS, DIRECTIONS, SHAPES, SIZES, Motion

# An object in motion crosses at least this share of the shorter side.
LEAST_TRAVEL: Final = 0.07
_GAP: Final = 0.04
_EVERYTHING_SEEN: Final = 1 - 1e-9


def pick(draw: np.random.Generator, choices: Sequence[str]) -> str:
    """One of the choices, each equally often."""
    return choices[int(draw.integers(len(choices)))]


def draw_appearances(
    draw: np.random.Generator, side: int, count: int, *, sizes: Sequence[str] = tuple(SIZES), shape: str | None = None
) -> list[Appearance]:
    """Appearances that differ in colour; `side` is the shorter side of the frame in px."""
    colours = draw.permutation(list(COLOURS))[:count]
    appearances = []
    for colour in colours:
        size = pick(draw, sizes)
        radius = side * float(draw.uniform(*SIZES[size]))
        appearances.append(Appearance(str(colour), shape or pick(draw, SHAPES), size, radius))
    return appearances


def draw_speed(draw: np.random.Generator, least: float, most: float) -> float | None:
    """A speed in shorter sides per second between two bounds: first a band of speeds, then a speed in it."""
    bands = [(max(low, least), min(high, most)) for low, high in BANDS]
    bands = [(low, high) for low, high in bands if low < high]
    if not bands:
        return None
    low, high = bands[int(draw.integers(len(bands)))]
    return float(np.exp(draw.uniform(np.log(low), np.log(high))))


def inside(appearance: Appearance, shape: ClipShape) -> tuple[tuple[float, float], tuple[float, float]]:
    """(low, high) in px of the centre along columns and rows for which the object is wholly in the frame."""
    left, right, top, bottom = appearance.extents
    return (left, shape.width - right), (top, shape.height - bottom)


def draw_start(
    draw: np.random.Generator, appearance: Appearance, shape: ClipShape, trajectory: Floats
) -> Floats | None:
    """An offset (2,) in px that keeps an object on positions (T, 2) wholly in the frame, or None."""
    start = np.empty(2)
    for axis, (low, high) in enumerate(inside(appearance, shape)):
        least, most = low - trajectory[:, axis].min(), high - trajectory[:, axis].max()
        if least > most:
            return None
        start[axis] = draw.uniform(least, most)
    return start


def unit(heading: str) -> Floats:
    """The unit vector (2,) of a heading, as (columns, rows)."""
    return np.array(DIRECTIONS[heading], dtype=np.float64)


def apart(tracks: Sequence[Track], side: int) -> bool:
    """Whether the circles around all objects keep a gap in every frame."""
    for number, one in enumerate(tracks):
        for other in tracks[:number]:
            reach = sum(REACH[track.appearance.shape] * track.appearance.radius for track in (one, other))
            distances = np.linalg.norm(one.positions - other.positions, axis=1)
            if distances.min() < reach + _GAP * side:
                return False
    return True


def track_of(
    appearance: Appearance,
    motion: Motion | None,
    heading: str | None,
    speed: float | None,
    trajectory: Trajectory,
    shape: ClipShape,
    *,
    camera: Trajectory | None = None,
    screen: Rectangle | None = None,
    touches: tuple[float, ...] = (),
    rebounds: int | None = None,
    trail: str | None = None,
) -> Track:
    """The track of an object on a trajectory in the world, as seen by a camera at rest or on its own trajectory."""
    positions, velocities = trajectory.positions, trajectory.velocities
    if camera is not None:
        positions, velocities = positions - camera.positions, velocities - camera.velocities
    visible = visible_share(appearance, positions, screen, shape)
    hider = FRAME_NAME if screen is None else SCREEN_NAME
    hidden_by = tuple(None if share > _EVERYTHING_SEEN else hider for share in visible)
    return Track(
        appearance,
        motion,
        heading,
        speed,
        positions,
        velocities,
        trajectory.positions,
        visible,
        hidden_by,
        trajectory.bounces,
        touches,
        rebounds,
        trail,
    )
