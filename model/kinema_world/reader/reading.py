"""What the reader reads in a clip. None means that it cannot be read: the reader never guesses.

Frames count from the start of the shot; positions are (column, row) in pixels on the screen, velocities in px/s.
"""

from dataclasses import dataclass
from functools import cached_property

from kinema_world.facts import Facts, ObjectFacts, ShotFacts
from kinema_world.parsing import kind_of
from kinema_world.vocabulary import Motion, heading_of, speed_word

Point = tuple[float, float]


@dataclass(frozen=True)
class WallBounce:
    """An object turned back at a wall, at a frame that may lie between two drawn ones."""

    frame: float
    wall: str


@dataclass(frozen=True)
class Fall:
    """`acceleration` downwards in px/s^2 as fitted to the first flight; `touches` are frames at the floor."""

    acceleration: float
    touches: tuple[float, ...]
    rebounds: int


@dataclass(frozen=True)
class Occlusion:
    """Wholly hidden in frames `first` to `last`, visible again at `exit_side` from `exit_time` seconds on."""

    first: int
    last: int
    exit_side: str
    exit_time: float


@dataclass(frozen=True)
class Trail:
    """A line that a brush drew; it `stays` where nearly nothing of it is lost until the end."""

    colour: str
    stays: bool


@dataclass(frozen=True)
class Contact:
    """Two objects, named by colour, that touch at a frame and change their velocity."""

    frame: float
    colours: tuple[str, str]


@dataclass(frozen=True)
class ObjectReading:
    """One object in one shot. `velocity` is in the world: at the start, or after the hit for what is struck."""

    colour: str
    shape: str | None
    size: str | None
    radius: float | None
    centres: tuple[Point | None, ...]
    visible: tuple[float, ...]
    motion: Motion | None = None
    velocity: Point | None = None
    bounces: tuple[WallBounce, ...] = ()
    fall: Fall | None = None
    occlusion: Occlusion | None = None
    trail: Trail | None = None

    def facts(self, side: int) -> ObjectFacts:
        """In words; `side` is the shorter side of the frame in pixels."""
        moves = self.motion not in (None, Motion.STILL, Motion.FALL)
        across, down = self.velocity if self.velocity and moves else (0.0, 0.0)
        return ObjectFacts(
            self.colour,
            self.shape,
            self.size,
            self.motion,
            heading_of(across, down),
            speed_word((across**2 + down**2) ** 0.5 / side) if moves else None,
            tuple(bounce.wall for bounce in self.bounces) or None,
            self.fall.rebounds if self.fall else None,
            self.trail.colour if self.trail and self.trail.stays else None,
        )


@dataclass(frozen=True)
class ShotReading:
    """One shot; `camera` is how the view moves over the background in px/s, None where it cannot be told."""

    first: int
    frames: int
    background: str | None
    camera: Point | None
    objects: tuple[ObjectReading, ...]
    contact: Contact | None = None

    def facts(self, side: int) -> ShotFacts:
        """In words; `side` is the shorter side of the frame in pixels."""
        pan, speed = None, None
        if self.camera is not None:
            still = self.camera == (0.0, 0.0)
            pan = "still" if still else heading_of(*self.camera)
            speed = None if still else speed_word((self.camera[0] ** 2 + self.camera[1] ** 2) ** 0.5 / side)
        return ShotFacts(tuple(thing.facts(side) for thing in self.objects), self.background, pan, speed)


@dataclass(frozen=True)
class Reading:
    """All that is read in a clip; `side` is the shorter side of its frame in pixels."""

    side: int
    shots: tuple[ShotReading, ...]

    @property
    def cut(self) -> int | None:
        """The first frame of the second shot, None where there is no cut."""
        return self.shots[1].first if len(self.shots) > 1 else None

    @cached_property
    def facts(self) -> Facts:
        """In words, for comparison with the facts of a caption."""
        shots = tuple(shot.facts(self.side) for shot in self.shots)
        things = [thing for shot in shots for thing in shot.objects]
        # Without a motion an object is a picture, unless there was time to move.
        unclear = sum(shot.frames for shot in self.shots) > 1 and any(thing.motion is None for thing in things)
        return Facts(None if unclear or not things else kind_of(shots), shots)


def agreement(asked: Facts, read: Facts) -> dict[str, bool]:
    """For every attribute of `asked`, whether `read` has the same value; one that cannot be read counts as wrong."""
    found = dict(read.items())
    return {address: found.get(address) == value for address, value in asked.items()}
