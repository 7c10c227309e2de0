"""Measures how long a coroutine blocks the event loop, and so everything else of the process, including the lease.

Its wall time says little about that, since most of it is spent waiting for responses.
"""

from __future__ import annotations

import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class Stopwatch:
    """Adds up the CPU time of one coroutine, without tasks that it starts."""

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self.seconds = 0.0
        """Total so far."""

    @types.coroutine
    def time(self, coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """Await `coroutine`; returns or raises what it does."""
        answer: Any = None
        error: BaseException | None = None
        while True:
            began = self._clock()
            try:
                waits_for = coroutine.send(answer) if error is None else coroutine.throw(error)
            except StopIteration as done:
                found: T = done.value
                return found
            finally:
                self.seconds += self._clock() - began
            try:
                answer, error = (yield waits_for), None
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as raised:
                answer, error = None, raised
