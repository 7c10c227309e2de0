"""The life cycle of one replica: fill the caches, stand by, lead, reconcile, and hand over.

Every replica watches; only the leader reconciles. Keys are queued by changes of the cache: its sources (informers,
Kopf's watches, responses to own writes) call the listener, which queues the keys that the controllers return.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web

from kinema_api.errors import KinemaApiError
from kinema_operator.core.controller import AnyController
from kinema_operator.core.errors import Conflict, OperatorError
from kinema_operator.core.plan import Key, KubeObject
from kinema_operator.core.resources import CHILD_KINDS, CUSTOM_KINDS, MANAGED_SELECTOR, NODE_KIND, ref_to
from kinema_operator.core.settings import Settings
from kinema_operator.shell import metrics
from kinema_operator.shell.access import Access, HttpEndpoint, require_right
from kinema_operator.shell.cache import ObjectCache, name_of
from kinema_operator.shell.claims import Claims
from kinema_operator.shell.client import Client
from kinema_operator.shell.connection import Connection
from kinema_operator.shell.events import EventPoster
from kinema_operator.shell.health import Probes
from kinema_operator.shell.informer import Informer
from kinema_operator.shell.leader import Leader
from kinema_operator.shell.reconcile import Reconciler
from kinema_operator.shell.stopwatch import Stopwatch
from kinema_operator.shell.workqueue import Claim, Priority, WorkQueue

log = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0
"""Time for running reconciles to end when leadership is released."""
EVENT_DRAIN_SECONDS = 1.0
"""Time for queued events to be posted then."""

SETTLE_SECONDS = 1.0
"""Delay after changes of pods that do not run yet, so that one reconcile covers many changes."""

Factory = Callable[[Settings, Client], list[AnyController]]


class Runtime:
    """The parts of one replica, apart from Kopf."""

    def __init__(self, settings: Settings, connection: Connection, factory: Factory) -> None:
        self._settings = settings
        self.cache = ObjectCache(self._wake)
        self.client = Client(connection, settings.api_timeout_seconds, self.cache)
        self.leader = Leader(settings, self.client)
        self.client.fence = self.leader.fence
        self._queue: WorkQueue[Key] = WorkQueue(
            settings.backoff_initial_seconds,
            settings.backoff_max_seconds,
            time.monotonic,
            hands=settings.reconcile_concurrency,
        )
        self.informers = [self._informer(kind, {}) for kind in CUSTOM_KINDS]
        self.informers += [self._informer(kind, MANAGED_SELECTOR) for kind in CHILD_KINDS]
        self._nodes = Informer(
            self.client, self.cache, NODE_KIND, stale_seconds=settings.watch_stale_seconds, optional=True
        )
        self._controllers = factory(settings, self.client)
        self._events = EventPoster(self.client)
        self._claims = Claims(settings, self.client)
        self._reconciler = Reconciler(
            *(self._controllers, self.cache, self.client, self._events, self._queue),
            settings.progress_interval_seconds,
            claims=self._claims,
        )
        self._probes = Probes(self.informers, settings.watch_stale_seconds)
        self._state = metrics.State(self.cache, self.informers, lambda: self._queue.depth, lambda: self.leader.leading)
        self._working = False
        self._workers: list[asyncio.Task[None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.failure: BaseException | None = None
        """Why this replica must exit."""
        self.over = asyncio.Event()
        """Set when the process should exit: after a failure or after `stop`."""

    async def start(self) -> None:
        """Listen, watch, and take part in the election."""
        metrics.REGISTRY.register(self._state)
        guard = require_right(Access(self.client), "/metrics") if self._settings.metrics_authentication else None
        await self._probes.start(self._settings.health_port, self._settings.metrics_port, guard, self._routes())
        for informer in self.informers:
            self._tasks.append(self._spawn(informer.run(), f"informer {informer.kind}"))
        self._tasks.append(self._spawn(self._nodes.run(), f"informer {NODE_KIND}"))
        self._tasks.append(self._spawn(self._events.run(), "events"))
        self._tasks.append(self._spawn(self._serve_term(), "leader"))

    async def stop(self) -> None:
        """Finish running reconciles, release leadership, and close."""
        await self._drain()
        if self.leader.leading:
            await self._events.drain(EVENT_DRAIN_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.leader.release()
        await asyncio.gather(*(controller.close() for controller in self._controllers))
        await self._probes.stop()
        await self.client.close()
        metrics.REGISTRY.unregister(self._state)
        self.over.set()

    def saw(self, change: str | None, obj: KubeObject) -> None:
        """Handle an event of Kopf's watch of a custom resource; an object that the cache has already queues no key."""
        if change == "DELETED":
            self.cache.discard(ref_to(obj), obj["metadata"]["uid"])
        else:
            self.cache.offer(obj)

    def _routes(self) -> dict[int, list[web.RouteDef]]:
        """Routes for clients, by port."""
        answering = [controller for controller in self._controllers if isinstance(controller, HttpEndpoint)]
        access = Access(self.client)
        routes = [route for controller in answering for route in controller.routes(access, self.cache)]
        return {self._settings.links_port: routes} if self._settings.links and routes else {}

    def _informer(self, kind: str, selector: dict[str, str]) -> Informer:
        return Informer(
            self.client,
            self.cache,
            kind,
            namespace=self._settings.watch_namespace,
            selector=selector,
            stale_seconds=self._settings.watch_stale_seconds,
        )

    def _wake(self, obj: KubeObject, priority: Priority = Priority.LIVE) -> None:
        if not self._working or obj["kind"] == NODE_KIND:
            # A standby reconciles everything once it leads. Nodes belong to no resource: their pods' resources poll.
            return
        settle = priority is Priority.LIVE and self._settles(obj)
        for controller in self._controllers:
            for key in controller.keys_for(obj):
                if settle:
                    self._queue.add_within(key, SETTLE_SECONDS)
                else:
                    self._queue.add(key, priority)

    def _settles(self, obj: KubeObject) -> bool:
        """Whether more changes will follow soon: of a pod that does not run yet, or a Job that has not ended."""
        metadata, status = obj["metadata"], obj.get("status") or {}
        if metadata.get("deletionTimestamp") or self.cache.get(obj["kind"], *name_of(obj)) is None:
            return False
        if obj["kind"] == "Pod":
            return bool(status.get("phase", "Pending") == "Pending")
        return bool(obj["kind"] == "Job" and not status.get("conditions"))

    async def _serve_term(self) -> None:
        await asyncio.gather(*(informer.synced.wait() for informer in self.informers))
        await self.leader.acquire()
        holding = self._spawn(self.leader.hold(), "lease")
        self._tasks.append(holding)
        # The cache must have the last leader's writes before the first decision.
        await asyncio.gather(*(informer.refresh() for informer in self.informers))
        self._working = True
        self._tasks.append(self._spawn(self._claims.renew(self._has_resources), "claims"))
        # Children too: remnants of a resource that was deleted while no replica led have no other trigger.
        for kind in (*CUSTOM_KINDS, *CHILD_KINDS):
            for obj in self.cache.list(kind):
                self._wake(obj, Priority.RESYNC)
        self._workers += [
            self._spawn(self._work(), f"worker {number}") for number in range(self._settings.reconcile_concurrency)
        ]
        await holding

    def _has_resources(self, namespace: str) -> bool:
        return any(True for kind in CUSTOM_KINDS for _ in self.cache.list(kind, namespace))

    async def _work(self) -> None:
        while True:
            claim = await self._queue.claim()
            try:
                await self._look_at(claim)
            finally:
                self._queue.done(claim.key)

    async def _look_at(self, claim: Claim[Key]) -> None:
        key = claim.key
        metrics.QUEUE_WAIT_SECONDS.observe(claim.waited)
        began, watch = time.monotonic(), Stopwatch()
        try:
            again = await watch.time(self._reconciler.reconcile(key))
        except Exception as error:
            self._failed(key, error)
        else:
            self._queue.succeeded(key)
            if again is not None:
                self._queue.add_within(key, again)
            metrics.RECONCILES.labels(key.kind, "ok").inc()
        metrics.RECONCILE_SECONDS.labels(key.kind).observe(time.monotonic() - began)
        metrics.LOOK_SECONDS.labels(key.kind).observe(watch.seconds)

    def _failed(self, key: Key, error: Exception) -> None:
        wait = self._queue.failed(key)
        about = {"kind": key.kind, "namespace": key.namespace, "resource": key.name, "retry_seconds": wait}
        conflict = isinstance(error, Conflict)
        metrics.RECONCILES.labels(key.kind, "conflict" if conflict else "error").inc()
        if conflict:
            log.info("Was changed meanwhile; reconciling again", extra=about)
            return
        metrics.ERRORS.labels(key.kind, type(error).__name__).inc()
        known = isinstance(error, OperatorError | KinemaApiError)
        log.error("Reconcile failed: %s", error, extra=about, exc_info=None if known else error)

    async def _drain(self) -> None:
        self._working = False
        if not await self._queue.drain(DRAIN_SECONDS if self.leader.leading else 0.0):
            log.warning("Cancelling %s reconciles; the next leader repeats them", self._queue.working)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self.over.is_set():
            return
        self.failure = task.exception() or RuntimeError(f"{task.get_name()} ended; restart the operator")
        log.critical("%s: %s", task.get_name(), self.failure)
        self.over.set()
