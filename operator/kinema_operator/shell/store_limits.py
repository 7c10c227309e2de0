"""Limits the calls in flight to each object store, and pauses calls to a store that fails (a circuit breaker).

Without a limit, a store that does not respond would block one reconcile worker after another. A store that has not
responded yet gets one call at a time. A queued call gives up after LINE_SECONDS; after a failure all calls are refused
until a pause is over, and then one call probes the store.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from kinema_api.errors import StorageUnreachable
from kinema_api.objectstore import ObjectStore

T = TypeVar("T")

TENANT_SLOTS: Final = 4
"""Most calls in flight to a store that a namespace specifies."""
OWN_SLOTS: Final = 16
"""Most calls in flight to the operator's own store."""
LINE_SECONDS: Final = 2.0
"""How long a call is queued for one store."""
FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 60.0
"""Pause between two probes of a failing store; doubles from the first to the longest."""


class StoreLimit:
    """The calls to one store. Belongs to one event loop."""

    def __init__(self, endpoint: str, slots: int = TENANT_SLOTS, clock: Callable[[], float] = time.monotonic) -> None:
        self._endpoint = endpoint
        self._slots = slots
        self._clock = clock
        self._busy = 0
        self._line: deque[asyncio.Future[None]] = deque()
        self._answers = False
        self._pause = 0.0
        self._closed_until = float("-inf")
        self._why = ""

    @property
    def idle(self) -> bool:
        """Whether no call is running or queued."""
        return not self._busy and not self._line

    async def run(self, question: Callable[..., T], *args: Any) -> T:
        """Run `question` in a new thread.

        Raises:
            StorageUnreachable: the store does not respond, did not respond recently, or all slots are taken.
            Exception: any exception of `question`.
        """
        self._refuse()
        await self._enter()
        call = in_thread(question, *args)
        # Hold the slot until the thread has ended, even if its caller was cancelled.
        call.add_done_callback(self._ended)
        return await asyncio.shield(call)

    @property
    def _limit(self) -> int:
        return self._slots if self._answers else 1

    def _refuse(self) -> None:
        if self._clock() < self._closed_until:
            raise StorageUnreachable(self._why)

    async def _enter(self) -> None:
        if self._busy < self._limit and not self._line:
            self._busy += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            async with asyncio.timeout(LINE_SECONDS):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave()
            elif turn in self._line:
                self._line.remove(turn)
            if isinstance(error, TimeoutError):
                raise StorageUnreachable(
                    f"object store {self._endpoint} has not responded to other requests for {LINE_SECONDS:.0f} s; "
                    "the operator retries soon: check that it runs and is not overloaded"
                ) from None
            raise

    def _leave(self) -> None:
        self._busy -= 1
        while self._line and self._busy < self._limit:
            turn = self._line.popleft()
            if not turn.done():
                self._busy += 1
                turn.set_result(None)

    def _ended(self, call: asyncio.Future[Any]) -> None:
        error = None if call.cancelled() else call.exception()
        if isinstance(error, StorageUnreachable):
            self._close(error)
        else:
            # A refusal is a response too.
            self._answers, self._pause = True, 0.0
        self._leave()

    def _close(self, error: StorageUnreachable) -> None:
        self._answers = False
        self._pause = min(max(FIRST_PAUSE_SECONDS, 2 * self._pause), LONGEST_PAUSE_SECONDS)
        self._closed_until = self._clock() + self._pause
        self._why = str(error)
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_exception(StorageUnreachable(self._why))


async def ask(store: ObjectStore, question: Callable[..., T], *args: Any) -> T:
    """Run a blocking call on `store` in a thread, within the store's limit if it has one."""
    call_limit = getattr(store, "call_limit", None)
    if isinstance(call_limit, StoreLimit):
        return await call_limit.run(question, *args)
    return await asyncio.to_thread(question, *args)


def in_thread(question: Callable[..., T], *args: Any) -> asyncio.Future[T]:
    """Run in a new thread: calls to one unresponsive store would fill a shared pool."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(answer: T | None, error: BaseException | None) -> None:
        if result.done():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(answer)  # type: ignore[arg-type]

    def work() -> None:
        answer: T | None = None
        failed: BaseException | None = None
        try:
            answer = question(*args)
        except BaseException as error:
            failed = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, answer, failed)

    threading.Thread(target=work, name="store-call", daemon=True).start()
    return result
