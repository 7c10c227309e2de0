"""The measure of drift in a long clip: attributes and motion of every chunk, and repeated seconds.

Takes any iterable of chunks, so that a minute never has to lie in memory. Three ways of making a minute out of little
are judged beside it, each on the clip's own beginning: its first frame for ever, its first second over and over, and
its first chunk with the last frame held. A measure that any of them passes would not tell drift.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch.nn import functional as F

from kinema_evaluation.errors import MeasureError
from kinema_evaluation.tracking import Floats, visible_centres
from kinema_world import Facts, Motion, ObjectFacts, Video
from kinema_world.geometry import REACH
from kinema_world.reader import ObjectReading, read
from kinema_world.reader.layers import Mask

FROZEN: Final = "frozen"
LOOPED: Final = "looped"
COPY_LAST: Final = "copy-last"
# A stream holds where this share of its attributes at the end, of its chunks and of its seconds is right.
HOLDS: Final = 0.9
ENDS: Final = 10.0
_SPEED: Final = 0.25
_TURN: Final = 0.35
# Pixels by which a centre that is read of a true clip of the smallest size may be off.
_READ: Final = 0.2
_LEAST_SPEED: Final = 0.02
_MOSTLY: Final = 0.75
# Reach of an object that cannot be read, in shares of the shorter side.
_LARGEST: Final = 0.25
# Two seconds are the same where they differ by less than this share of what seconds usually differ by.
_SAME: Final = 0.03
_THUMBNAIL: Final = 8


@dataclass(frozen=True)
class Chunk:
    """One chunk, `at` seconds from the start: the share of right attributes, and whether all motion is lawful."""

    at: float
    attributes: float
    lawful: bool


@dataclass(frozen=True)
class Drift:
    """A long clip chunk by chunk, and of each whole second whether it is none that was there before."""

    chunks: tuple[Chunk, ...]
    fresh: tuple[bool, ...]

    @property
    def lawful(self) -> float:
        """Share of chunks in which everything moves by its law."""
        return float(np.mean([chunk.lawful for chunk in self.chunks]))

    @property
    def new_seconds(self) -> float:
        """Share of seconds, from the second one on, that repeat none before them; 1 of a clip of one second."""
        return float(np.mean(self.fresh[1:])) if len(self.fresh) > 1 else 1.0

    @property
    def last(self) -> float:
        """Share of attributes right in the last ten seconds."""
        return self.attributes(max(0.0, self.seconds - ENDS + 1e-9), self.seconds + 1)

    @property
    def holds(self) -> bool:
        """Whether the clip stays what it was to its end, moves by the law and repeats nothing."""
        return min(self.last, self.lawful, self.new_seconds) >= HOLDS

    @property
    def right(self) -> tuple[float, ...]:
        """Share of attributes right of each chunk, 0 where it breaks the law or lies in a second that was there."""
        whole = len(self.fresh) - 1
        return tuple(
            chunk.attributes * chunk.lawful * (whole < 0 or self.fresh[min(int(chunk.at), whole)])
            for chunk in self.chunks
        )

    def attributes(self, begin: float, end: float) -> float:
        """Share of attributes right in the chunks that begin in [begin, end) seconds."""
        shares = [chunk.attributes for chunk in self.chunks if begin <= chunk.at < end]
        return float(np.mean(shares)) if shares else float("nan")

    @property
    def seconds(self) -> float:
        """When the last chunk begins."""
        return self.chunks[-1].at


@dataclass(frozen=True)
class Stream:
    """A long clip: chunks uint8 (T, H, W, 3) at `fps` frames per second, and the facts of its caption."""

    asked: Facts
    chunks: Iterable[Video]
    fps: float


def drift(stream: Stream) -> Drift:
    """Judge a long clip chunk by chunk. Raises `MeasureError` for a stream without a chunk."""
    things = stream.asked.shots[0].objects
    followers = [_Follower(thing, stream.fps) for thing in things if thing.colour and thing.motion is not Motion.STILL]
    thumbnails: list[Floats] = []
    judged: list[Chunk] = []
    frames = 0
    for chunk in stream.chunks:
        seen = read(chunk, stream.fps).shots[0].objects
        lawful = [follower.lawful(chunk, seen) for follower in followers]
        judged.append(Chunk(frames / stream.fps, attributes(things, seen), all(lawful)))
        thumbnails.append(_thumbnails(chunk))
        frames += len(chunk)
    if not judged:
        raise MeasureError("A stream without a chunk cannot be judged. Give at least one.")
    return Drift(tuple(judged), _fresh(np.concatenate(thumbnails), round(stream.fps)))


def attributes(things: Sequence[ObjectFacts], seen: Sequence[ObjectReading | ObjectFacts]) -> float:
    """Share of right colours and shapes; a superfluous object costs as much as a missing one."""
    present = {(thing.colour, thing.shape) for thing in seen}
    colours = {colour for colour, _ in present}
    right = sum((thing.colour in colours) + ((thing.colour, thing.shape) in present) for thing in things)
    surplus = 2 * max(0, len(present) - len(things))
    return max(0, right - surplus) / max(2 * len(things), 1)


class _Follower:
    """One object through all chunks: straight ahead at its first speed, turning only at walls, also across chunks."""

    def __init__(self, thing: ObjectFacts, fps: float) -> None:
        self._colour, self._fps = str(thing.colour), fps
        self._before = np.empty((0, 2))
        self._speed: float | None = None

    def lawful(self, chunk: Video, seen: Sequence[ObjectReading]) -> bool:
        centres = np.concatenate((self._before, visible_centres(chunk, self._colour)))
        self._before = centres[-2:]
        steps = np.diff(centres, axis=0)
        speeds = np.linalg.norm(steps, axis=1)
        usual = float(np.median(speeds)) if len(speeds) else float("nan")
        height, width = chunk.shape[1:3]
        if not usual * self._fps > _LEAST_SPEED * min(height, width):
            return False
        if self._speed is None:
            self._speed = usual
        inner = _away_from_walls(centres, self._radius(seen, min(width, height)), self._speed, (width, height))
        calm = inner[1:] & inner[:-1]
        if np.isnan(speeds).any():
            return False
        steady = np.abs(speeds[calm] - self._speed) <= _SPEED * self._speed + 2 * _READ
        turns = np.linalg.norm(np.diff(steps, axis=0), axis=1)[inner[1:-1]]
        return bool(np.all(turns <= _TURN * self._speed + 2 * _READ) and (not len(steady) or steady.mean() >= _MOSTLY))

    def _radius(self, seen: Sequence[ObjectReading], side: int) -> float:
        for thing in seen:
            if thing.colour == self._colour and thing.radius is not None:
                return thing.radius * (REACH[thing.shape] if thing.shape else 1.0)
        return _LARGEST * side


def _away_from_walls(centres: Floats, radius: float, step: float, size: tuple[int, int]) -> Mask:
    """Frames (T,) in which no wall is within the object's reach and one step."""
    margin = radius + step
    return np.asarray(np.all((centres > margin) & (centres < np.array(size) - margin), axis=1))


def _thumbnails(chunk: Video) -> Floats:
    frames = torch.from_numpy(np.ascontiguousarray(chunk)).permute(0, 3, 1, 2).float()
    return np.asarray(F.adaptive_avg_pool2d(frames, _THUMBNAIL).flatten(1).double().numpy())


def _fresh(frames: Floats, second: int) -> tuple[bool, ...]:
    """Of each whole second whether it differs from every second before it; the first one does."""
    apart = np.stack([np.abs(frames - one).mean(axis=1) for one in frames])
    span = np.arange(second)
    usual: list[float] = []
    least: list[float] = []
    for start in range(second, second * (len(frames) // second), second):
        earlier = [float(apart[start + span, offset + span].mean()) for offset in range(start - second + 1)]
        usual.append(float(np.median(earlier)))
        least.append(min(earlier))
    bound = _SAME * max(float(np.median(usual)), 1e-9) if usual else 0.0
    return (*(True for _ in range(min(1, len(frames) // second))), *(value > bound for value in least))


def controls(first: Video, fps: float, frames: int) -> dict[str, Callable[[], Iterator[Video]]]:
    """Ways to make `frames` frames out of the first chunk (T, H, W, 3), as chunks of its length."""
    length = len(first)
    second = first[: max(1, min(length, round(fps)))]

    def chunks(order: Callable[[int], int], source: Video) -> Callable[[], Iterator[Video]]:
        def make() -> Iterator[Video]:
            for begin in range(0, frames, length):
                yield source[[order(begin + step) for step in range(length)]]

        return make

    return {
        FROZEN: chunks(lambda _: 0, first),
        LOOPED: chunks(lambda frame: frame % len(second), second),
        COPY_LAST: chunks(lambda frame: min(frame, length - 1), first),
    }
