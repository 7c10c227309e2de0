"""One run of the learning benchmark: slices of training, a reading after each, until the threshold or the limit.

The clock counts training alone. A reading stops as soon as the threshold cannot be reached any more, which changes no
verdict and makes the many early readings cheap.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from kinema_model.ema import Ema
from kinema_world import Attributes, Video
from stage.slices import replace_file

READING_BATCH = 32
LATER = 0.1
"""Readings are at least this share of a run's seconds apart, so that slow and quick runs are timed equally finely."""
Mark = Callable[[Video, Attributes], tuple[bool, bool]]
"""(clip uint8 (T, H, W, 3), what was asked for) -> (colour right, direction right)."""


class Contender(Protocol):
    """A model that learns the task step by step; `ema` is the average of its weights that draws the clips."""

    name: str
    ema: Ema

    def parameters(self) -> int:
        """Trained numbers."""
        ...

    def train_step(self, step: int) -> float:
        """Take optimiser step `step`, counted from 0; its loss."""
        ...

    def sample(self, prompts: Sequence[str], seeds: Sequence[int]) -> Video:
        """Clips uint8 (B, T, H, W, 3) of the averaged weights."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on as if nothing had happened."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state of `state_dict`."""
        ...


class Asked(Protocol):
    """A prompt, what it asks for, and the seed of its noise."""

    @property
    def prompt(self) -> str: ...

    @property
    def asked(self) -> Attributes: ...

    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class Reading:
    """Right answers of the prompts read so far, of those wanted; taken after `seconds` of training."""

    seconds: float
    step: int
    wanted: int
    read: int
    colour: int
    direction: int

    def passes(self, threshold: float) -> bool:
        return self.read == self.wanted and min(self.colour, self.direction) >= needed(threshold, self.wanted)

    @property
    def accuracy(self) -> float:
        """The worse of the two, of what was read."""
        return min(self.colour, self.direction) / self.read


@dataclass
class Record:
    """Result of a run. `loss` is the mean over its last slice; `diverged` if a loss was not finite."""

    name: str
    parameters: int
    seconds: float = 0.0
    step: int = 0
    loss: float = math.inf
    diverged: bool = False
    reached: float | None = None
    readings: list[Reading] = field(default_factory=list)

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Record:
        return cls(**{**stored, "readings": [Reading(**reading) for reading in stored["readings"]]})


def needed(threshold: float, wanted: int) -> int:
    """Right answers out of `wanted` that a share of `threshold` needs."""
    return math.ceil(threshold * wanted - 1e-9)


def reached(readings: Iterable[Reading], threshold: float) -> float | None:
    """Seconds of training at the second of the first two successive readings that pass; None if there are none."""
    passed_before = False
    for reading in readings:
        passes = reading.passes(threshold)
        if passes and passed_before:
            return reading.seconds
        passed_before = passes
    return None


def take_reading(
    contender: Contender, exam: Sequence[Asked], mark: Mark, threshold: float, seconds: float, step: int
) -> Reading:
    """Draw and mark the exam's clips, batch by batch, as long as the threshold can still be met."""
    wanted, read, colour, direction = len(exam), 0, 0, 0
    spare = wanted - needed(threshold, wanted)
    while read < wanted and read - min(colour, direction) <= spare:
        part = exam[read : read + READING_BATCH]
        clips = contender.sample([question.prompt for question in part], [question.seed for question in part])
        marks = [mark(clip, question.asked) for clip, question in zip(clips, part, strict=True)]
        read += len(part)
        colour += sum(right for right, _ in marks)
        direction += sum(right for _, right in marks)
    return Reading(seconds, step, wanted, read, colour, direction)


@dataclass(frozen=True)
class Rules:
    """What all runs share: seconds of training between early readings, the threshold, the prompts, how to mark."""

    every: float
    threshold: float
    exam: Sequence[Asked]
    mark: Mark


class Run:
    """A contender in training; can be saved between two slices and resumed."""

    def __init__(self, contender: Contender, rules: Rules, clock: Callable[[], float] = time.perf_counter) -> None:
        self._contender = contender
        self._rules = rules
        self._clock = clock
        self.record = Record(contender.name, contender.parameters())

    def over(self, limit: float) -> bool:
        """Whether the run reached the threshold, diverged, or has trained for `limit` seconds."""
        return self.record.reached is not None or self.record.diverged or self.record.seconds >= limit

    def slice(self, limit: float) -> Reading | None:
        """Train until the next reading or the limit, and read; None if the loss stopped being a number.

        Only for a run that is not over.
        """
        record = self.record
        # From the clock, not from the count of readings: one slow step may pass two marks.
        following = (record.seconds // self._rules.every + 1) * self._rules.every
        until = min(max(following, record.seconds * (1 + LATER)), limit)
        losses: list[float] = []
        # At least one step: the mark's own rounding may put it where the clock already is.
        while not losses or record.seconds < until:
            begun = self._clock()
            losses.append(self._contender.train_step(record.step))
            record.seconds += self._clock() - begun
            record.step += 1
            if not math.isfinite(losses[-1]):
                record.diverged, record.loss = True, math.inf
                return None
        record.loss = sum(losses) / len(losses)
        rules = self._rules
        reading = take_reading(self._contender, rules.exam, rules.mark, rules.threshold, record.seconds, record.step)
        record.readings.append(reading)
        record.reached = reached(record.readings, rules.threshold)
        return reading

    def save(self, file: Path) -> None:
        """Write atomically: a run stopped while writing is as it was before."""
        state = {"record": asdict(self.record), "contender": self._contender.state_dict()}
        replace_file(file, lambda part: torch.save(state, part))

    def load(self, file: Path) -> None:
        """Go on from what `save` wrote."""
        stored = torch.load(file, weights_only=True)
        self.record = Record.of(stored["record"])
        self._contender.load_state_dict(stored["contender"])
