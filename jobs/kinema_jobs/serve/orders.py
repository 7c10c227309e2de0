"""The orders of a server: the active one, the results of previous ones, and which orders are refused."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from kinema_api.wire import MAX_SENTENCE, OrderResult, OrderState, WorkOrder
from kinema_jobs.serve import metrics

log = logging.getLogger(__name__)

Phase = Literal["loading", "denoising", "encoding", "succeeded", "failed", "cancelled"]
STOPPING_SECONDS: Final = 5.0
"""After the grace, how long an order may take to stop between two steps."""
ENDED: Final = ("succeeded", "failed", "cancelled")


class OrderRefused(Exception):
    """An order is refused; `status` is the HTTP status of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(eq=False)
class ActiveOrder:
    """One attempt at one generation, as this server knows it. Written by its worker thread and the event loop."""

    order: WorkOrder
    phase: Phase = "loading"
    step: int = 0
    steps: int | None = None
    """Denoising steps in all, once they are known: a long clip has some for each of its chunks."""
    loaded_percent: int = 0
    error: str | None = None
    retriable: bool = True
    result: OrderResult | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: stop before the next denoising step."""
    task: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        """The order is in a last phase."""
        return self.phase in ENDED

    def state(self) -> OrderState:
        """The state that the operator reads."""
        return OrderState(
            uid=self.order.uid,
            attempt=self.order.attempt,
            phase=self.phase,
            step=self.step,
            total_steps=self.steps or self.order.steps or 0,
            loaded_percent=self.loaded_percent,
            error=self.error,
            retriable=self.retriable,
            result=self.result,
        )

    def end(self, phase: Phase, error: str | None = None, *, retriable: bool = True) -> None:
        """Enter a last phase and count it."""
        self.phase, self.error, self.retriable = phase, error and error[:MAX_SENTENCE], retriable
        metrics.GENERATIONS.labels(phase).inc()


Run = Callable[[ActiveOrder], Awaitable[None]]


class OrderBook:
    """Takes one order at a time. Everything here can be lost: the truth is the VideoGeneration and the store."""

    def __init__(self, run: Run, remembered: int) -> None:
        self._run = run
        self._remembered = remembered
        self._orders: OrderedDict[str, ActiveOrder] = OrderedDict()
        self._draining = False

    @property
    def current(self) -> ActiveOrder | None:
        """The active order."""
        return next((o for o in reversed(self._orders.values()) if not o.ended), None)

    @property
    def draining(self) -> bool:
        """No more orders are taken."""
        return self._draining

    def submit(self, order: WorkOrder) -> OrderState:
        """Take an order, or return the state of the order if it is known.

        A newer attempt replaces an older one of the same uid, which is stopped.

        Raises:
            OrderRefused: 409 for an older attempt, 429 while another order is active, 503 while ending.
        """
        known = self._orders.get(order.uid)
        if known is not None:
            if order.attempt == known.order.attempt:
                return known.state()
            if order.attempt < known.order.attempt:
                raise OrderRefused(
                    409, f"attempt {known.order.attempt} of this order was received already: send a newer attempt."
                )
        if self._draining:
            raise OrderRefused(503, "this server is ending: send the order to another server.")
        busy = self.current
        if busy is not None and busy is not known:
            raise OrderRefused(429, "this server is busy with another order: try another server, or this one later.")
        if known is not None:
            known.stop.set()
        return self._start(order).state()

    def cancel(self, uid: str) -> OrderState | None:
        """Stop an order before its next denoising step; None: unknown."""
        known = self._orders.get(uid)
        if known is not None:
            known.stop.set()
        return known.state() if known else None

    def state(self, uid: str) -> OrderState | None:
        """The state of an order; None: unknown."""
        known = self._orders.get(uid)
        return known.state() if known else None

    def close(self) -> None:
        """Take no more orders."""
        self._draining = True

    async def drain(self, grace_seconds: float) -> bool:
        """Take no more orders and finish the active one; True when no order runs any more.

        An order that is still denoised after `grace_seconds` is asked to stop, and waited for a moment longer.
        """
        self._draining = True
        tasks = [o.task for o in self._orders.values() if o.task is not None and not o.task.done()]
        if not tasks:
            return True
        _, pending = await asyncio.wait(tasks, timeout=grace_seconds)
        if not pending:
            return True
        for order in self._orders.values():
            order.stop.set()
        _, pending = await asyncio.wait(pending, timeout=STOPPING_SECONDS)
        return not pending

    def _start(self, order: WorkOrder) -> ActiveOrder:
        taken = ActiveOrder(order)
        self._orders.pop(order.uid, None)
        self._orders[order.uid] = taken
        while len(self._orders) > self._remembered:
            self._orders.popitem(last=False)
        taken.task = asyncio.create_task(self._work(taken))
        return taken

    async def _work(self, taken: ActiveOrder) -> None:
        metrics.BUSY.set(1)
        try:
            await self._run(taken)
        finally:
            metrics.BUSY.set(0 if self.current is None else 1)
