"""The ground truth of a clip: every object in every frame, in pixels and seconds.

Columns run to the right and rows downwards, with (0, 0) at the top left corner of the frame; the centre of the
first pixel is (0.5, 0.5).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from kinema_model.source import Captions
from kinema_world.facts import Facts, ObjectFacts, ShotFacts
from kinema_world.geometry import EXTENTS, area_before
from kinema_world.motion import Bounce, Floats
from kinema_world.vocabulary import Attributes, Colour, Motion, SceneKind, speed_word

SCREEN_NAME: Final = "screen"
FRAME_NAME: Final = "frame"


@dataclass(frozen=True)
class ClipShape:
    """Size of a clip: frames, pixels, and frames per second."""

    frames: int
    height: int
    width: int
    fps: int

    @property
    def side(self) -> int:
        """The shorter side in pixels, the unit of all sizes and speeds."""
        return min(self.height, self.width)

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return (self.frames - 1) / self.fps


@dataclass(frozen=True)
class Rectangle:
    """An upright rectangle: left, top, right and bottom in pixels, and its colour."""

    left: float
    top: float
    right: float
    bottom: float
    colour: Colour


@dataclass(frozen=True)
class Appearance:
    """Colour, shape, size and radius in px of an object; `size` is None where captions do not name it."""

    colour: str
    shape: str
    size: str | None
    radius: float

    @property
    def extents(self) -> tuple[float, float, float, float]:
        """Reach in pixels to the left, right, top and bottom of the centre of mass."""
        left, right, top, bottom = EXTENTS[self.shape]
        return left * self.radius, right * self.radius, top * self.radius, bottom * self.radius


@dataclass(frozen=True)
class Collision:
    """Two discs touch at a time in seconds; `tracks` are their places in the shot."""

    time: float
    tracks: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Track:
    """One object through one shot of T frames.

    `positions` (T, 2) in pixels and `velocities` (T, 2) in px/s are (columns, rows) on the screen;
    `world_positions` (T, 2) are where it is in the world, which differs where the camera moves. `visible` (T,) is
    the share of its area that is seen, and `hidden_by` names what hides the rest. `speed` at the start, in
    shorter sides per second in the world, is None where captions do not name it. `bounces` and `touches` of the
    floor are at times in seconds from the shot's first frame.
    """

    appearance: Appearance
    motion: Motion | None
    heading: str | None
    speed: float | None
    positions: Floats
    velocities: Floats
    world_positions: Floats
    visible: npt.NDArray[np.float64]
    hidden_by: tuple[str | None, ...]
    bounces: tuple[Bounce, ...] = ()
    touches: tuple[float, ...] = ()
    rebounds: int | None = None
    trail: str | None = None

    def facts(self) -> ObjectFacts:
        """What captions may say of it."""
        return ObjectFacts(
            self.appearance.colour,
            self.appearance.shape,
            self.appearance.size,
            self.motion,
            self.heading,
            None if self.speed is None else speed_word(self.speed),
            tuple(bounce.wall for bounce in self.bounces) or None,
            self.rebounds,
            self.trail,
        )


@dataclass(frozen=True, eq=False)
class SceneShot:
    """Frames [first, first + frames) of a clip, between two cuts.

    `landmarks` are in world coordinates, `screen` covers all else. `camera` (T, 2) is the view's offset in the world
    in pixels, `pan_speed` in shorter sides per second, `gravity` in px/s^2.
    """

    first: int
    frames: int
    background: str
    tracks: tuple[Track, ...]
    camera: Floats
    landmarks: tuple[Rectangle, ...] = ()
    screen: Rectangle | None = None
    pan: str | None = None
    pan_speed: float | None = None
    gravity: float | None = None
    collision: Collision | None = None

    def facts(self, *, bare: bool = False) -> ShotFacts:
        """What captions may say of it; a bare shot is a single frame, without camera motion."""
        speed = None if self.pan_speed is None else speed_word(self.pan_speed)
        pan = None if bare else self.pan or "still"
        return ShotFacts(tuple(track.facts() for track in self.tracks), self.background, pan, speed)


@dataclass(frozen=True, eq=False)
class Scene:
    """A clip before it is drawn: its ground truth and its captions."""

    kind: SceneKind
    shape: ClipShape
    shots: tuple[SceneShot, ...]
    captions: Captions

    @property
    def tracks(self) -> tuple[Track, ...]:
        """All objects of all shots."""
        return tuple(track for shot in self.shots for track in shot.tracks)

    @property
    def attributes(self) -> Attributes:
        """Colour, shape and direction of the first object."""
        first = self.tracks[0]
        return Attributes(first.appearance.colour, first.appearance.shape, first.heading)

    @property
    def cut(self) -> int | None:
        """The first frame of the second shot."""
        return self.shots[1].first if len(self.shots) > 1 else None

    @cached_property
    def facts(self) -> Facts:
        """All that captions may say."""
        return facts_of(self.kind, self.shots)


def facts_of(kind: SceneKind, shots: tuple[SceneShot, ...]) -> Facts:
    """What captions may say of shots."""
    return Facts(kind, tuple(shot.facts(bare=kind is SceneKind.IMAGE) for shot in shots))


def visible_share(appearance: Appearance, positions: Floats, screen: Rectangle | None, shape: ClipShape) -> Floats:
    """Visible share (T,) in [0, 1] of an object's area at positions (T, 2) in px, cut off by frame and screen.

    Exact as long as an object crosses edges along one axis at a time, which holds for all scenes of the world.
    """
    seen = np.ones(len(positions))
    for axis, length in enumerate((shape.width, shape.height)):
        seen *= _share_between(appearance, positions, axis, 0, length)
    if screen is None:
        return seen
    upright = screen.top <= 0 and screen.bottom >= shape.height
    axis, ends = (0, (screen.left, screen.right)) if upright else (1, (screen.top, screen.bottom))
    return seen - _share_between(appearance, positions, axis, *ends)


def _share_between(appearance: Appearance, positions: Floats, axis: int, low: float, high: float) -> Floats:
    before, until = (
        area_before(appearance.shape, axis, (end - positions[:, axis]) / appearance.radius) for end in (low, high)
    )
    return until - before
