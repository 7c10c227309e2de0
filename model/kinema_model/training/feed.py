"""The batches of a training: made when they are needed, or ahead of it by processes of their own.

What a batch holds is a function of its samples and its step alone, so both ways give the same, up to the rounding of
text states, which depends on the number of threads. On a GPU the device is done with a step long before one core has
made the next one.
"""

import ctypes
import multiprocessing
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final, Literal, TypeVar

import torch
import torch.multiprocessing  # lets tensors travel through shared memory
from torch import Tensor

from kinema_model.errors import DataWorkerLost
from kinema_model.network.pack import Pack
from kinema_model.training.objective import TrainingObjective

Batch = tuple[Pack, Tensor]
"""Clean latents as a pack that holds their levels, and noise (N, C pt ph pw)."""
Planned = TypeVar("Planned")
Answer = TypeVar("Answer")
_PR_SET_PDEATHSIG: Final = 1
# The objective of a data worker, which lives as long as its process.
_OBJECTIVES: list[TrainingObjective] = []


@dataclass(frozen=True)
class PendingBatch:
    """The batch of these samples, which `make` makes or waits for.

    `make` raises what the source raises, and `DataWorkerLost`.
    """

    samples: tuple[int, ...]
    make: Callable[[], Batch]


class DataWorkers:
    """Processes that make batches by an objective of their own, on the CPU.

    As forks they begin at once and share what is imported, and must be started before this process has threads, sockets
    or a device: a fork keeps the sockets of a process that is killed open.
    """

    def __init__(
        self,
        objective: Callable[[], TrainingObjective],
        count: int,
        context: Literal["fork", "spawn"] = "fork",
    ) -> None:
        self.count = count
        self._pool = ProcessPoolExecutor(count, multiprocessing.get_context(context), _begin, (objective,))
        # The first call starts all processes.
        self._pool.submit(time.sleep, 0)

    def submit(self, work: Callable[..., Answer], *arguments: Any) -> "Future[Answer]":
        """What `work(objective, *arguments)` returns in a data worker, for `answer_of`."""
        try:
            return self._pool.submit(_worked, work, arguments)
        except BrokenProcessPool as error:
            lost: Future[Answer] = Future()
            lost.set_exception(error)
            return lost

    def close(self) -> None:
        """End the processes; what they still make is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)


_LOST: Final = (
    "A process that makes batches has ended, likely for want of memory. Use fewer data workers, or give more memory."
)


def answer_of(future: "Future[Answer]") -> Answer:
    """The answer of a data worker, once it is there. Raises what the work raised, and `DataWorkerLost`."""
    try:
        return future.result()
    except BrokenProcessPool:
        raise DataWorkerLost(_LOST) from None


def _begin(objective: Callable[[], TrainingObjective]) -> None:
    # A data worker that outlived its trainer would hold memory, and no one would end it.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _OBJECTIVES.append(objective())


def _worked(work: Callable[..., Answer], arguments: Sequence[Any]) -> Answer:
    return work(_OBJECTIVES[-1], *arguments)


class Feed:
    """The batches of steps in order. With data workers, `depth` steps are asked for before the first is needed.

    `waited` is the time in seconds that the training waited for plans and batches.
    """

    def __init__(
        self, objective: TrainingObjective, workers: DataWorkers | None = None, depth: int | None = None
    ) -> None:
        self.waited = 0.0
        self._objective, self._workers = objective, workers
        self._depth = (workers.count + 1 if workers else 0) if depth is None else depth

    def steps(
        self, planned: Iterable[tuple[Planned, int, Sequence[Sequence[int]]]]
    ) -> Iterator[tuple[Planned, list[PendingBatch]]]:
        """Each plan with its batches, where a plan comes with the number of its step and the samples of each batch."""
        plans = iter(planned)
        coming: deque[tuple[Planned, list[PendingBatch]]] = deque()
        while True:
            begun = time.perf_counter()
            for plan, step, pieces in islice(plans, self._depth + 1 - len(coming)):
                coming.append((plan, [self._asked(samples, step) for samples in pieces]))
            self.waited += time.perf_counter() - begun
            if not coming:
                return
            yield coming.popleft()

    def _asked(self, samples: Sequence[int], step: int) -> PendingBatch:
        make: Callable[[], Batch] = partial(self._objective.batch, samples, step)
        if self._workers is not None:
            make = partial(answer_of, self._workers.submit(TrainingObjective.batch, samples, step))
        return PendingBatch(tuple(samples), partial(self._timed, make))

    def _timed(self, make: Callable[[], Batch]) -> Batch:
        begun = time.perf_counter()
        try:
            return self._sent(make())
        finally:
            self.waited += time.perf_counter() - begun

    def _sent(self, batch: Batch) -> Batch:
        """On a GPU, on its way there from pinned memory, so that this process need not wait for the copy."""
        device, (clean, noise) = self._objective.device, batch
        if device.type != "cuda" or clean.tokens.device.type != "cpu":
            return batch
        return clean.pinned().to(device, non_blocking=True), noise.pin_memory().to(device, non_blocking=True)
