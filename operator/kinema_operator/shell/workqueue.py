"""The work queue: unique keys with delays, backoff, and priority with ageing.

No key is reconciled twice at the same time: a key that is added meanwhile is reconciled again afterwards. A key that is
added twice is reconciled once. Within a namespace the order is by time of arrival, with a bonus in seconds for
priority, so live changes pass a bulk resync, but only by that many seconds (ageing: no key starves).

Namespaces take turns, however many keys they have. One namespace gets at most half of the workers that the others leave
free, or one, so reconciles that wait for a slow store do not block other namespaces.

`Schedule` makes the decisions and gets the time from its caller; `WorkQueue` lets workers wait.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from kinema_operator.core.plan import Key

K = TypeVar("K")


class Priority(IntEnum):
    """Priority of a key."""

    RESYNC = 0
    """All keys are reconciled: after a start or a change of leadership."""
    LIVE = 1
    """An object has changed, or a delay is over."""


AGEING_SECONDS = 5.0
"""Seconds by which keys of the next higher priority pass a key."""
BACKOFF_DOUBLINGS = 32
"""Most doublings of the wait: it is at its maximum then for any sensible setting."""


@dataclass(frozen=True, slots=True)
class Claim(Generic[K]):
    """A key that a worker reconciles."""

    key: K
    waited: float
    """Seconds that the key was due before it was claimed."""


class Schedule(Generic[K]):
    """Keys that are due, delayed or being reconciled. Times are seconds of any monotonic clock."""

    def __init__(self, backoff_initial: float, backoff_max: float, hands: int | None = None) -> None:
        """`hands`: number of workers; None: no limit per namespace."""
        self._hands = hands
        self._backoff = (backoff_initial, backoff_max)
        self._tickets = itertools.count()
        self._due: dict[K, tuple[float, int, float]] = {}  # rank, ticket, since
        self._heaps: dict[str, list[tuple[float, int, K]]] = {}
        """Due keys by namespace; the namespaces in the order of their turns."""
        self._in_hand: Counter[str] = Counter()
        self._delayed: dict[K, tuple[float, int]] = {}
        self._delayed_heap: list[tuple[float, int, K]] = []
        self._working: set[K] = set()
        self._again: dict[K, tuple[Priority, float]] = {}
        self._failures: dict[K, int] = {}

    def add(self, key: K, now: float, priority: Priority = Priority.LIVE) -> None:
        """Reconcile `key` as soon as possible."""
        if key in self._working:
            known, since = self._again.get(key, (priority, now))
            self._again[key] = (max(known, priority), since)
            return
        rank = now - priority * AGEING_SECONDS
        known_entry = self._due.get(key)
        if known_entry is not None and known_entry[0] <= rank:
            return
        since = known_entry[2] if known_entry is not None else now
        ticket = next(self._tickets)
        self._due[key] = (rank, ticket, since)
        heapq.heappush(self._heaps.setdefault(_namespace(key), []), (rank, ticket, key))

    def add_at(self, key: K, when: float) -> None:
        """Reconcile `key` at `when`, instead of any other delay; a key that is due stays due."""
        ticket = next(self._tickets)
        self._delayed[key] = (when, ticket)
        heapq.heappush(self._delayed_heap, (when, ticket, key))

    def add_by(self, key: K, when: float) -> None:
        """Reconcile `key` at `when` or earlier."""
        known = self._delayed.get(key)
        if key not in self._due and (known is None or known[0] > when):
            self.add_at(key, when)

    def claim(self, now: float) -> Claim[K] | None:
        """Claim the next due key, or None. Drops its delay, if any."""
        self._ripen(now)
        for namespace in list(self._heaps):
            if not self._may_take(namespace):
                continue
            heap = self._heaps.pop(namespace)
            claimed = self._first(heap, now)
            if heap:
                self._heaps[namespace] = heap  # Its next turn is after all others.
            if claimed is not None:
                self._in_hand[namespace] += 1
                return claimed
        return None

    def _may_take(self, namespace: str) -> bool:
        taken = self._in_hand[namespace]
        if self._hands is None or not taken:
            return True
        return taken < self._hands - len(self._working)

    def _first(self, heap: list[tuple[float, int, K]], now: float) -> Claim[K] | None:
        while heap:
            _, ticket, key = heapq.heappop(heap)
            entry = self._due.get(key)
            if entry is None or entry[1] != ticket:
                continue
            del self._due[key]
            self._delayed.pop(key, None)
            self._working.add(key)
            return Claim(key, max(0.0, now - entry[2]))
        return None

    def done(self, key: K, now: float) -> None:
        """The worker has finished with `key`."""
        if key in self._working:
            self._working.discard(key)
            self._in_hand -= Counter([_namespace(key)])
        if key in self._again:
            priority, _ = self._again.pop(key)
            self.add(key, now, priority)

    def failed(self, key: K, now: float) -> float:
        """Reconcile `key` again after its backoff, which doubles with each failure in a row; returns the wait."""
        failures = self._failures.get(key, 0)
        self._failures[key] = min(failures + 1, BACKOFF_DOUBLINGS)
        initial, longest = self._backoff
        wait: float = min(longest, initial * 2**failures)
        self.add_at(key, now + wait)
        return wait

    def succeeded(self, key: K) -> None:
        """Reset the failure count of `key`."""
        self._failures.pop(key, None)

    def forget(self, key: K) -> None:
        """Drop the delay and the failure count of a deleted `key`."""
        self._failures.pop(key, None)
        self._delayed.pop(key, None)

    def next_time(self) -> float | None:
        """When the next delayed key is due."""
        while self._delayed_heap:
            when, ticket, key = self._delayed_heap[0]
            if self._delayed.get(key) == (when, ticket):
                return when
            heapq.heappop(self._delayed_heap)
        return None

    @property
    def depth(self) -> int:
        """Number of due keys that no worker has claimed."""
        return len(self._due)

    @property
    def working(self) -> int:
        """Keys in the hands of workers."""
        return len(self._working)

    def _ripen(self, now: float) -> None:
        while (when := self.next_time()) is not None and when <= now:
            _, _, key = heapq.heappop(self._delayed_heap)
            del self._delayed[key]
            self.add(key, when)


def _namespace(key: object) -> str:
    return key.namespace if isinstance(key, Key) else ""


class WorkQueue(Generic[K]):
    """A `Schedule` for one event loop."""

    def __init__(
        self, backoff_initial: float, backoff_max: float, clock: Callable[[], float], hands: int | None = None
    ) -> None:
        self._schedule: Schedule[K] = Schedule(backoff_initial, backoff_max, hands)
        self._clock = clock
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._closed = False

    @property
    def depth(self) -> int:
        """Number of due keys that no worker has claimed."""
        return self._schedule.depth

    @property
    def working(self) -> int:
        """Keys in the hands of workers."""
        return self._schedule.working

    def add(self, key: K, priority: Priority = Priority.LIVE) -> None:
        """Reconcile `key` as soon as possible."""
        self._schedule.add(key, self._clock(), priority)
        self._changed.set()

    def add_within(self, key: K, seconds: float) -> None:
        """Reconcile `key` when `seconds` are over, unless something makes it due earlier."""
        self._schedule.add_by(key, self._clock() + max(0.0, seconds))
        self._changed.set()

    def failed(self, key: K) -> float:
        """Reconcile `key` again after its backoff; returns the seconds."""
        wait = self._schedule.failed(key, self._clock())
        self._changed.set()
        return wait

    def succeeded(self, key: K) -> None:
        """Reset the failure count of `key`."""
        self._schedule.succeeded(key)

    def forget(self, key: K) -> None:
        """Drop the delay and the failure count of a deleted `key`."""
        self._schedule.forget(key)

    async def claim(self) -> Claim[K]:
        """Wait for the next key. The caller must call `done` with it."""
        while True:
            now = self._clock()
            claimed = None if self._closed else self._schedule.claim(now)
            if claimed is not None:
                self._idle.clear()
                return claimed
            self._changed.clear()
            when = self._schedule.next_time()
            timer = None
            if when is not None and not self._closed:
                timer = asyncio.get_running_loop().call_later(max(0.0, when - now), self._changed.set)
            try:
                await self._changed.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    def done(self, key: K) -> None:
        """The worker has finished with `key`."""
        self._schedule.done(key, self._clock())
        self._changed.set()
        if not self._schedule.working:
            self._idle.set()

    async def drain(self, seconds: float) -> bool:
        """Let no more keys be claimed and wait until none is being reconciled; returns whether that was in time."""
        self._closed = True
        if not self._schedule.working:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
