"""Batches of the training, in the order of its steps: made when they are asked for, or ahead by other processes.

The samples of a step depend on its number and the planner's position (`StepPlanner`), so both ways give the same
batches. A GPU finishes a step long before one core has made the next batch, so several processes make batches ahead.
They compute the clips' sizes too: the planner needs these first, and each one takes the making of a scene.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

from torch import Tensor

from kinema_model.errors import ConfigError, DataWorkerLost
from kinema_model.network.pack import Pack
from kinema_model.packing.planning import StepPlanner, StreamState, tokens_of
from kinema_model.text.encoder import TextEncoder
from kinema_model.training.feed import DataWorkers, answer_of
from kinema_model.training.objective import TrainingObjective
from kinema_world import World
from kinema_world.source import WorldSource
from proof.settings import RICH_CAPTIONS, STREAMING_SHARE, TASKS, Settings

Made = tuple[Pack, Tensor]
T = TypeVar("T")
_SIZES_AT_ONCE: Final = 128
_SIZES_AHEAD: Final = 8
_SPARE: Final = 2
_SHARED: Final = Path("/dev/shm")


@dataclass(frozen=True)
class Batch:
    """Clean latents with their levels, noise of the same shape, and where the stream of samples goes on after them."""

    clean: Pack
    noise: Tensor
    following: StreamState


class Supply(Protocol):
    """Batches one after another; `waited` are seconds that `take` took so far."""

    waited: float

    def take(self) -> Batch:
        """The batch of the next step, on the CPU."""
        ...

    def close(self) -> None:
        """End what makes batches."""
        ...


def objective_of(settings: Settings) -> TrainingObjective:
    """What the proof teaches; batches are made on the CPU."""
    return TrainingObjective(
        settings.config,
        TextEncoder(),
        WorldSource(World(settings.world)),
        settings.seed,
        tasks=TASKS,
        rich_captions=RICH_CAPTIONS,
        streaming_share=STREAMING_SHARE,
    )


def planner_of(settings: Settings, tokens: Callable[[int], int]) -> StepPlanner:
    """Steps of the token budget."""
    return StepPlanner(tokens, settings.tokens)


def size_of(objective: TrainingObjective, index: int) -> int:
    """Tokens of a sample's clip."""
    return tokens_of(objective.config.grid, objective.source.shape(index))


class Inline:
    """Makes each batch when it is asked for."""

    def __init__(self, settings: Settings, step: int, state: StreamState) -> None:
        self.waited = 0.0
        self._objective = objective_of(settings)
        self._planner = planner_of(settings, lambda index: size_of(self._objective, index))
        self._step, self._state = step, state

    def take(self) -> Batch:
        """See `Supply`."""
        begun = time.perf_counter()
        samples, self._state = self._planner.plan(self._state)
        clean, noise = self._objective.batch(samples, self._step)
        self._step += 1
        self.waited += time.perf_counter() - begun
        return Batch(clean, noise, self._state)

    def close(self) -> None:
        """Nothing runs on its own."""


def _sizes(objective: TrainingObjective, first: int) -> list[int]:
    return [size_of(objective, index) for index in range(first, first + _SIZES_AT_ONCE)]


class Ahead:
    """Has `workers` processes make batches, `depth` of them ahead; it is there when the first one is."""

    def __init__(self, settings: Settings, step: int, state: StreamState, workers: int, depth: int) -> None:
        self.waited = 0.0
        # This process may hold a device, which no fork may use.
        self._workers = DataWorkers(partial(objective_of, settings), workers, "spawn")
        self._planner = planner_of(settings, self._size)
        self._sizes: dict[int, Future[list[int]]] = {}
        self._step, self._state, self._depth = step, state, depth
        self._coming: deque[tuple[Future[Made], StreamState]] = deque()
        # Start the processes early: they take seconds, which must not count as training time.
        self._ask()
        _answer(self._coming[0][0])

    def take(self) -> Batch:
        """See `Supply`. Raises `ConfigError` where a worker has ended."""
        begun = time.perf_counter()
        asked, following = self._coming.popleft()
        self._ask()
        clean, noise = _answer(asked)
        self.waited += time.perf_counter() - begun
        return Batch(clean, noise, following)

    def _ask(self) -> None:
        while len(self._coming) < self._depth:
            samples, self._state = self._planner.plan(self._state)
            self._coming.append((self._workers.submit(TrainingObjective.batch, samples, self._step), self._state))
            self._step += 1

    def close(self) -> None:
        """Stop the processes."""
        self._workers.close()

    def _size(self, index: int) -> int:
        """Tokens of a sample, from lists that are asked for well before they are needed."""
        number = index // _SIZES_AT_ONCE
        for ahead in range(number, number + _SIZES_AHEAD):
            if ahead not in self._sizes:
                self._sizes[ahead] = self._workers.submit(_sizes, ahead * _SIZES_AT_ONCE)
        # Samples that the planner skips are never far behind.
        self._sizes.pop(number - _SIZES_AHEAD, None)
        return _answer(self._sizes[number])[index % _SIZES_AT_ONCE]


def _answer(asked: Future[T]) -> T:
    try:
        return answer_of(asked)
    except DataWorkerLost as error:
        raise ConfigError(f"{error} PROOF_WORKERS sets their number.") from None


def supply_of(settings: Settings, step: int, state: StreamState) -> Supply:
    """Processes where the device is a GPU and shared memory holds what they make, else batches made on demand.

    PROOF_WORKERS sets their number (all cores but two on a GPU, none on a CPU). Raises `ConfigError`.
    """
    cores = len(os.sched_getaffinity(0))
    asked = os.environ.get("PROOF_WORKERS", str(max(1, cores - _SPARE) if settings.device == "cuda" else 0))
    if not asked.isdecimal():
        raise ConfigError(f"PROOF_WORKERS is {asked!r}. Give 0 or the number of processes that shall make batches.")
    workers = int(asked)
    free = shutil.disk_usage(_SHARED).free if _SHARED.is_dir() else 0
    depth = min(workers + _SPARE, free // 2 // _bytes(settings))
    if workers < 1:
        return Inline(settings, step, state)
    if depth < 1:
        print(f"{_SHARED} has too little room for a batch: they are made on demand. Give it 4 GiB.", flush=True)
        return Inline(settings, step, state)
    print(f"{workers} processes make batches, {depth} ahead", flush=True)
    return Ahead(settings, step, state, workers, depth)


def _bytes(settings: Settings) -> int:
    """About what a batch takes: latents and noise in float32, given parts beside the clips, texts and places."""
    pt, ph, pw = settings.config.patch
    return 3 * 4 * settings.tokens * settings.config.channels * pt * ph * pw
