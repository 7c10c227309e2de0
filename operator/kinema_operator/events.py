"""Kubernetes events about our resources, as `kubectl describe` and `kubectl events` show them.

They are news for people, so they are posted one after another beside the work: a burst of them delays no reconcile,
and one that cannot be posted makes nobody do anything twice.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from datetime import UTC, datetime
from typing import Any

from kinema_operator.client import Client
from kinema_operator.errors import OperatorError
from kinema_operator.plan import Event, Manifest

log = logging.getLogger(__name__)

COMPONENT = "kinema-operator"
MAX_MESSAGE = 1024
"""Longest message that the API server takes."""
MAX_WAITING = 2000
"""Events that wait to be posted; beyond that new ones are dropped."""


class EventPoster:
    """Posts events in the order they were told."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MAX_WAITING)

    def tell(self, obj: Manifest, event: Event) -> None:
        """Post `event` about `obj` soon."""
        try:
            self._waiting.put_nowait(manifest(obj, event))
        except asyncio.QueueFull:
            log.warning("Dropped the event %s about %s: too many wait", event.reason, obj["metadata"]["name"])

    async def run(self) -> None:
        """Post for ever."""
        while True:
            event = await self._waiting.get()
            try:
                await self._client.post(event)
            except OperatorError as error:
                log.warning("Cannot post the event %s: %s", event["reason"], error)
            finally:
                self._waiting.task_done()

    async def drain(self, seconds: float) -> None:
        """Return when all are posted, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._waiting.join()
        except TimeoutError:
            log.warning("Gave up %s events that were not posted yet", self._waiting.qsize())


def manifest(obj: Manifest, event: Event) -> dict[str, Any]:
    """`event` about `obj` as a core/v1 Event."""
    metadata = obj["metadata"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}", "namespace": metadata["namespace"]},
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
        "message": event.message[:MAX_MESSAGE],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": "",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
