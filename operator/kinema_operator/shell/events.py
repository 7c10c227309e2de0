"""Kubernetes events about our resources, as `kubectl describe` and `kubectl events` show them.

A background task posts them, so a burst delays no reconcile and a failure causes no retry. A repeated event increments
the count of the existing one, similar events are combined, and the rate per resource is limited.

The limits are those of client-go's EventCorrelator (k8s.io/client-go/tools/record/events_cache.go).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from kinema_operator.core.errors import AlreadyExists, NamespaceEnding, NotFound, OperatorError
from kinema_operator.core.plan import Event, KubeObject, Ref
from kinema_operator.shell.client import Client

log = logging.getLogger(__name__)

COMPONENT: Final = "kinema-operator"
MAX_MESSAGE: Final = 1024
"""Longest message that the API server accepts."""
MAX_WAITING: Final = 2000
"""Most queued events; further ones are dropped."""
MAX_REMEMBERED: Final = 4096
"""Most resources, and most events, that are remembered."""
BURST: Final = 25
"""Most events of one resource at once."""
REFILL_SECONDS: Final = 300.0
"""Time after which a resource may have one more event."""
SIMILAR: Final = 10
"""Events of one reason about one resource, with different messages, before further ones are combined."""
SIMILAR_SECONDS: Final = 600.0
"""Period in which they count as similar."""
COMBINED: Final = "(combined from similar events): "


@dataclass
class _Resource:
    """Recent events of one resource."""

    tokens: float = BURST
    at: float = 0.0
    messages: dict[str, dict[str, float]] = field(default_factory=dict)
    """Time of each message's last event, by reason."""


@dataclass
class _Known:
    """An event that was posted or is queued."""

    body: dict[str, Any]
    count: int = 0
    posted: bool = False
    waiting: bool = False


class EventPoster:
    """Posts events in order."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._waiting: asyncio.Queue[_Known] = asyncio.Queue(MAX_WAITING)
        self._resources: OrderedDict[str, _Resource] = OrderedDict()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def tell(self, obj: KubeObject, event: Event) -> None:
        """Queue `event` about `obj`."""
        resource = self._resource(str(obj["metadata"]["uid"]))
        if not self._may_speak(resource):
            log.debug("Dropped the event %s about %s: rate limit of the object", event.reason, obj["metadata"]["name"])
            return
        body = manifest(obj, event, combined=self._is_one_of_many(resource, event))
        known = self._known.setdefault(body["metadata"]["name"], _Known(body))
        self._known.move_to_end(body["metadata"]["name"])
        _trim(self._known)
        known.count += 1
        known.body = {**body, "firstTimestamp": known.body["firstTimestamp"], "count": known.count}
        if known.waiting:
            return
        try:
            self._waiting.put_nowait(known)
            known.waiting = True
        except asyncio.QueueFull:
            log.warning("Dropped the event %s about %s: the queue is full", event.reason, obj["metadata"]["name"])

    async def run(self) -> None:
        """Post for ever."""
        while True:
            known = await self._waiting.get()
            known.waiting = False
            try:
                await self._post(known)
            except NamespaceEnding:
                log.debug("No event %s: the namespace is being deleted", known.body["reason"])
            except OperatorError as error:
                log.warning("Cannot post the event %s: %s", known.body["reason"], error)
            finally:
                self._waiting.task_done()

    async def drain(self, seconds: float) -> None:
        """Return when all events are posted, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._waiting.join()
        except TimeoutError:
            log.warning("Dropped %s events that were not posted yet", self._waiting.qsize())

    async def _post(self, known: _Known) -> None:
        if known.posted and await self._count_up(known):
            return
        try:
            await self._client.post(known.body)
        except AlreadyExists:
            # An earlier process has posted it.
            metadata = known.body["metadata"]
            there = await self._client.get("Event", metadata["namespace"], metadata["name"]) or {}
            known.count += int(there.get("count") or 0)
            await self._count_up(known)
        known.posted = True

    async def _count_up(self, known: _Known) -> bool:
        """Increment the event's count; False if the API server, which keeps events for an hour, does not have it any
        more."""
        metadata, body = known.body["metadata"], known.body
        change = {"count": known.count, "lastTimestamp": body["lastTimestamp"], "message": body["message"]}
        try:
            await self._client.patch(Ref("v1", "Event", metadata["namespace"], metadata["name"]), change, None)
        except NotFound:
            known.count = 1
            known.body = {**body, "count": 1, "firstTimestamp": body["lastTimestamp"]}
            return False
        return True

    def _resource(self, uid: str) -> _Resource:
        found = self._resources.setdefault(uid, _Resource(at=self._clock()))
        self._resources.move_to_end(uid)
        _trim(self._resources)
        return found

    def _may_speak(self, resource: _Resource) -> bool:
        now = self._clock()
        resource.tokens = min(BURST, resource.tokens + (now - resource.at) / REFILL_SECONDS)
        resource.at = now
        if resource.tokens < 1:
            return False
        resource.tokens -= 1
        return True

    def _is_one_of_many(self, resource: _Resource, event: Event) -> bool:
        now = self._clock()
        recent = resource.messages.setdefault(event.reason, {})
        for message in [m for m, at in recent.items() if now - at > SIMILAR_SECONDS]:
            del recent[message]
        recent[event.message] = now
        return len(recent) > SIMILAR


def _trim(known: OrderedDict[str, Any]) -> None:
    while len(known) > MAX_REMEMBERED:
        known.popitem(last=False)


def manifest(obj: KubeObject, event: Event, *, combined: bool = False) -> dict[str, Any]:
    """`event` about `obj` as a core/v1 Event; equal events have the same name."""
    metadata = obj["metadata"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    said = COMBINED if combined else event.message
    digest = hashlib.sha256("\0".join((metadata["uid"], event.type, event.reason, said)).encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{digest}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": event.type,
        "reason": event.reason,
        "message": (COMBINED + event.message if combined else event.message)[:MAX_MESSAGE],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": "",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
