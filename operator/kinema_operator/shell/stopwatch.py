"""How long a coroutine keeps the event loop to itself: everything else of the process, the lease too, waits meanwhile.

The time from its start to its end says little of that: most of it is spent in waiting for answers.
"""

from __future__ import annotations

import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class Stopwatch:
    """Adds up the processor time of the steps of one coroutine. Tasks that it starts count for themselves."""

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self.seconds = 0.0
        """So far."""

    @types.coroutine
    def time(self, coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """Await `coroutine`; whatever it returns or raises."""
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
