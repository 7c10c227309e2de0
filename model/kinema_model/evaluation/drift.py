"""Does a long clip stay what it was: attributes and law of every chunk, and no second that was there before.

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

from kinema_model.errors import ShapeError
from kinema_model.evaluation.bootstrap import mean
from kinema_model.evaluation.report import Curve, Row, Score, Section
from kinema_model.evaluation.tracking import Floats, visible_centres
from kinema_model.reader import ObjectReading, read
from kinema_model.reader.layers import Mask
from kinema_model.world import Facts, Motion, ObjectFacts, Video
from kinema_model.world.geometry import REACH

FROZEN: Final = "frozen"
LOOPED: Final = "looped"
COPY_LAST: Final = "copy-last"
ATTRIBUTES_FIRST: Final = "attributes, first 10 s"
ATTRIBUTES_LAST: Final = "attributes, last 10 s"
LAWFUL: Final = "moves by the law"
NEW: Final = "no second repeated"
_ENDS: Final = 10.0
_SPEED: Final = 0.25
_TURN: Final = 0.35
_LEAST_SPEED: Final = 0.02
_MOSTLY: Final = 0.75
# Reach of an object that cannot be read, in shares of the shorter side.
_LARGEST: Final = 0.25
# Two seconds are the same where they differ by less than this share of what seconds usually differ by.
_SAME: Final = 0.03
_THUMBNAIL: Final = 8


@dataclass(frozen=True)
class Chunk:
    """One chunk, `at` seconds from the start: share of attributes right, and whether all moves by its law."""

    at: float
    attributes: float
    lawful: bool


@dataclass(frozen=True)
class Drift:
    """A long clip chunk by chunk, and the share of its seconds that no earlier one repeats."""

    chunks: tuple[Chunk, ...]
    new_seconds: float

    @property
    def lawful(self) -> float:
        """Share of chunks in which everything moves by its law."""
        return float(np.mean([chunk.lawful for chunk in self.chunks]))

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
    """A long clip as it comes: chunks uint8 (T, H, W, 3) at a rate, of a caption that asks for these facts."""

    asked: Facts
    chunks: Iterable[Video]
    fps: float


def drift(stream: Stream) -> Drift:
    """Judge a long clip while it comes. Raises `ShapeError` for a stream without a chunk."""
    things = stream.asked.shots[0].objects
    followers = [_Follower(thing, stream.fps) for thing in things if thing.colour and thing.motion is not Motion.STILL]
    thumbnails: list[Floats] = []
    judged: list[Chunk] = []
    frames = 0
    for chunk in stream.chunks:
        seen = read(chunk, stream.fps).shots[0].objects
        lawful = [follower.lawful(chunk, seen) for follower in followers]
        judged.append(Chunk(frames / stream.fps, _attributes(things, seen), all(lawful)))
        thumbnails.append(_thumbnails(chunk))
        frames += len(chunk)
    if not judged:
        raise ShapeError("A stream without a chunk cannot be judged. Give at least one.")
    return Drift(tuple(judged), _new_seconds(np.concatenate(thumbnails), round(stream.fps)))


def _attributes(things: Sequence[ObjectFacts], seen: Sequence[ObjectReading]) -> float:
    """Share of colours and shapes that are there; objects that nobody asked for cost as much as missing ones."""
    told = {(thing.colour, thing.shape) for thing in seen}
    colours = {colour for colour, _ in told}
    right = sum((thing.colour in colours) + ((thing.colour, thing.shape) in told) for thing in things)
    surplus = 2 * max(0, len(told) - len(things))
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
        steady = np.abs(speeds[calm] - self._speed) <= _SPEED * self._speed
        turns = np.linalg.norm(np.diff(steps, axis=0), axis=1)[inner[1:-1]]
        return bool(np.all(turns <= _TURN * self._speed) and (not len(steady) or steady.mean() >= _MOSTLY))

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


def _new_seconds(frames: Floats, second: int) -> float:
    """Share of seconds (from the second one on) that differ from every second before them; 1 of a clip of one."""
    apart = np.stack([np.abs(frames - one).mean(axis=1) for one in frames])
    count = len(frames) // second
    usual: list[float] = []
    least: list[float] = []
    for number in range(1, count):
        start = number * second
        span = np.arange(second)
        earlier = [float(apart[start + span, offset + span].mean()) for offset in range(start - second + 1)]
        usual.append(float(np.median(earlier)))
        least.append(min(earlier))
    if not least:
        return 1.0
    return float(np.mean(np.array(least) > _SAME * max(float(np.median(usual)), 1e-9)))


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


def section(streams: Sequence[Stream]) -> Section:
    """All streams together, beside the three controls on their own beginnings."""
    drifts: list[Drift] = []
    ruled: dict[str, list[Drift]] = {FROZEN: [], LOOPED: [], COPY_LAST: []}
    for stream in streams:
        kept: list[Video] = []
        told = drift(Stream(stream.asked, _noting(stream.chunks, kept), stream.fps))
        drifts.append(told)
        length = len(kept[0])
        for name, make in controls(kept[0], stream.fps, len(told.chunks) * length).items():
            ruled[name].append(drift(Stream(stream.asked, make(), stream.fps)))
    return Section(
        title="Drift",
        question="Does a long clip stay what it was, to its end?",
        rows=tuple(_row(name, drifts, ruled) for name in _FIGURES),
        curves=_curves(drifts),
    )


def _noting(chunks: Iterable[Video], kept: list[Video]) -> Iterator[Video]:
    """The chunks, the first of which is kept."""
    for chunk in chunks:
        if not kept:
            kept.append(chunk)
        yield chunk


_FIGURES: Final[dict[str, tuple[str, Callable[[Drift], float]]]] = {
    ATTRIBUTES_FIRST: ("colours and shapes right in the first ten seconds", lambda told: told.attributes(0, _ENDS)),
    ATTRIBUTES_LAST: (
        "colours and shapes right in the last ten seconds",
        lambda told: told.attributes(max(0.0, told.seconds - _ENDS + 1e-9), told.seconds + 1),
    ),
    LAWFUL: ("chunks in which every object moves on at its speed and turns only at walls", lambda told: told.lawful),
    NEW: ("seconds that repeat no earlier one", lambda told: told.new_seconds),
}


def _row(name: str, drifts: Sequence[Drift], ruled: dict[str, list[Drift]]) -> Row:
    meaning, figure = _FIGURES[name]
    score = mean([figure(told) for told in drifts])
    assert score is not None
    scores: dict[str, Score] = {}
    for rule, told in ruled.items():
        of = mean([figure(one) for one in told])
        if of is not None:
            scores[rule] = of
    return Row(name=name, meaning=meaning, score=score, controls=scores)


def _curves(drifts: Sequence[Drift]) -> tuple[Curve, ...]:
    times = tuple(chunk.at for chunk in min(drifts, key=lambda told: len(told.chunks)).chunks)
    shares = [float(np.mean([told.chunks[place].attributes for told in drifts])) for place in range(len(times))]
    lawful = [float(np.mean([told.chunks[place].lawful for told in drifts])) for place in range(len(times))]
    return (
        Curve(name="attributes right", across="seconds", x=times, y=tuple(shares)),
        Curve(name=LAWFUL, across="seconds", x=times, y=tuple(lawful)),
    )
