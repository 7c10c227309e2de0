"""One look at one resource: observe, plan, and carry the plan out, writing only what is not so already.

Level-based: nothing here depends on which event led to it, and nothing is remembered that a restart would lose but
for two savings, which a restart merely spends once more (when progress was last written, which Secrets were right).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kinema_operator import metrics
from kinema_operator.cache import ObjectCache
from kinema_operator.client import Client
from kinema_operator.controller import Controller
from kinema_operator.errors import NamespaceEnding
from kinema_operator.events import EventPoster
from kinema_operator.plan import Key, Manifest, Plan
from kinema_operator.queue import WorkQueue
from kinema_operator.resources import ref_to
from kinema_operator.semantic import merge_patch
from kinema_operator.writer import Trust, Writer, controller_uid

PROGRESS_FIELDS = frozenset({"progress", "queuePosition", "waiting", "lastActiveTime"})
"""Fields of a status that merely move along; a change of nothing else may wait for the progress interval."""


def utc_now() -> datetime:
    """The time that plans are told, in whole seconds as in Kubernetes' own timestamps."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass
class Remembered:
    """What saves requests about one resource; losing it costs no more than they do."""

    progress_written: float = float("-inf")
    trust: Trust = field(default_factory=Trust)


class Reconciler:
    """Carries out what the controllers decide."""

    def __init__(
        self,
        controllers: Iterable[Controller],
        cache: ObjectCache,
        client: Client,
        events: EventPoster,
        queue: WorkQueue[Key],
        progress_interval: float,
        *,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._controllers: Mapping[str, Controller] = {controller.kind: controller for controller in controllers}
        self._cache = cache
        self._client = client
        self._writer = Writer(cache, client, clock)
        self._events = events
        self._queue = queue
        self._interval = progress_interval
        self._now = now
        self._clock = clock
        self._remembered: dict[Key, Remembered] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Bring one resource one step further; seconds after which to look again, or None.

        Raises:
            Exception: whatever went wrong; the key is to be tried again with backoff.
        """
        obj = self._cache.get(key.kind, key.namespace, key.name)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            # Owner references take the rest with them; an object on its way out gets nothing new.
            self._remembered.pop(key, None)
            self._queue.forget(key)
            return None
        controller = self._controllers[key.kind]
        observed = await controller.observe(key, obj, self._cache)
        try:
            return await self._carry_out(key, obj, controller, controller.plan(obj, observed, self._now()))
        except NamespaceEnding:
            await self._let_go(obj)
            return None

    async def _carry_out(self, key: Key, obj: Manifest, controller: Controller, plan: Plan) -> float | None:
        remembered = self._remembered.setdefault(key, Remembered())
        await _all(self._client.delete(ref) for ref in plan.delete)
        await _all(self._writer.write(wanted, remembered.trust) for wanted in plan.apply)
        await _all(
            self._client.patch(p.ref, p.body, p.resource_version, subresource=p.subresource, strategic=p.strategic)
            for p in plan.patches
        )
        again = plan.requeue_after
        if plan.status is not None:
            held_back = await self._write_status(remembered, obj, plan.status.to_wire())
            again = held_back if again is None else min(again, held_back or again)
        for event in plan.events:
            self._events.tell(obj, event)
        for effect in plan.effects:
            await controller.perform(key, obj, effect)
        for other in plan.wake:
            self._queue.add(other)
        return again

    async def _let_go(self, obj: Manifest) -> None:
        """Delete the Jobs of `obj`, whose namespace is being deleted.

        Namespaces lose their pods before anything else (KEP-5080), and a Job with a backoff per index keeps the
        finalizer of a failed pod until it has made another one: which it never may, so that neither would ever go.
        """
        for job in self._cache.list("Job", obj["metadata"]["namespace"]):
            if controller_uid(job) == obj["metadata"]["uid"] and not job["metadata"].get("deletionTimestamp"):
                await self._client.delete(ref_to(job))

    async def _write_status(self, remembered: Remembered, obj: Manifest, status: dict[str, Any]) -> float | None:
        """Write what differs; seconds to wait if the difference is mere progress and it is too early for that."""
        difference = merge_patch(obj.get("status") or {}, status)
        if not difference:
            return None
        if difference.keys() <= PROGRESS_FIELDS:
            left = remembered.progress_written + self._interval - self._clock()
            if left > 0:
                return left
        await self._client.patch_status(ref_to(obj), difference, obj["metadata"]["resourceVersion"])
        remembered.progress_written = self._clock()
        metrics.WRITES.labels(obj["kind"], "status").inc()
        return None


async def _all(writes: Iterable[Awaitable[Any]]) -> None:
    """Send all at once and wait for all, also if one fails: no write may outlive the turn of its key."""
    results = await asyncio.gather(*writes, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
