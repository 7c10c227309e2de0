"""Makes the next batch while the device works on the current one."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Prefetch(Generic[T]):
    """One batch ahead, made by a thread; on a GPU on a stream of its own. `waited` are seconds spent waiting for it.

    A batch may be used until the next one is taken: from then on its memory is given to the one after that.
    """

    def __init__(self, make: Callable[[], T], device: torch.device) -> None:
        self.waited = 0.0
        self._make = make
        gpu = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if gpu else None  # type: ignore[no-untyped-call]
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._coming: Future[tuple[T, torch.cuda.Event | None]] = self._thread.submit(self._made, None)

    def take(self) -> T:
        """The next batch, ready for the current stream."""
        begun = time.perf_counter()
        batch, ready = self._coming.result()
        self.waited += time.perf_counter() - begun
        free = None
        if ready is not None:
            current = torch.cuda.current_stream()
            current.wait_event(ready)
            free = current.record_event()
        self._coming = self._thread.submit(self._made, free)
        return batch

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _made(self, free: torch.cuda.Event | None) -> tuple[T, torch.cuda.Event | None]:
        if self._stream is None:
            return self._make(), None
        with torch.cuda.stream(self._stream):
            # Queued work of the device may still read the memory of the previous batch.
            if free is not None:
                self._stream.wait_event(free)
            return self._make(), self._stream.record_event()
