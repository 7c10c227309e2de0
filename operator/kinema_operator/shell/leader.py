"""Leader election with a Lease, as in client-go, and a fence before every write.

A candidate acquires the Lease if it is free, or if it has not changed for its duration by the candidate's own monotonic
clock; clocks of two machines are never compared. The leader counts its term from the time at which it sent the last
successful renewal, less a margin, so its term always ends before another one can begin. A replica that loses the Lease
exits and is restarted as a standby.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kinema_operator.core.errors import AlreadyExists, Conflict, NotLeading, OperatorError
from kinema_operator.core.plan import KubeObject
from kinema_operator.core.settings import Settings
from kinema_operator.shell.client import Client

log = logging.getLogger(__name__)

MARGIN_SHARE = 1 / 6
"""Share of the lease's duration by which the leader stops before others may start."""
STANDBY_LOOKS = 3
"""Reads of the Lease by a standby per renewal interval, which determines how soon it acquires a released Lease."""
REQUEST_SECONDS = 3.0
"""Time-out of one request for the Lease."""


@dataclass
class Term:
    """What one replica knows of the Lease. Pure: the caller passes the time of a monotonic clock."""

    identity: str
    duration: float
    seen: tuple[Any, ...] | None = None
    seen_at: float = 0.0
    held_until: float = float("-inf")

    def observe(self, lease: KubeObject | None, now: float) -> None:
        """Record the observed Lease."""
        spec = lease["spec"] if lease is not None else {}
        record = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if record != self.seen:
            self.seen, self.seen_at = record, now

    def expires_at(self, lease: KubeObject | None) -> float:
        """When the observed Lease may be acquired, unless it changes before."""
        spec = lease["spec"] if lease is not None else {}
        if not spec.get("holderIdentity"):
            return float("-inf")
        return self.seen_at + float(spec.get("leaseDurationSeconds") or self.duration)

    def renewed(self, asked_at: float) -> None:
        """Record that a request sent at `asked_at` has acquired or renewed the Lease."""
        self.held_until = asked_at + self.duration * (1 - MARGIN_SHARE)

    def end(self) -> None:
        """End the term: no more writes."""
        self.held_until = float("-inf")

    def remaining(self, now: float) -> float:
        """Seconds for which this replica may still write; negative: it may not."""
        return self.held_until - now


class Leader:
    """Takes part in the election."""

    def __init__(self, settings: Settings, client: Client, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._namespace, self._name = settings.pod_namespace, settings.lease_name
        self._renew_seconds = settings.lease_renew_seconds
        self._duration = settings.lease_duration_seconds
        # The pod's name alone is not unique: a restarted container has the same one.
        self._term = Term(f"{settings.identity}_{uuid.uuid4().hex[:8]}", float(self._duration))
        self._lease: dict[str, Any] | None = None

    @property
    def identity(self) -> str:
        """Name of this replica in the Lease."""
        return self._term.identity

    @property
    def leading(self) -> bool:
        """Whether this replica may write now."""
        return self._term.remaining(self._clock()) > 0

    def fence(self) -> float:
        """Seconds for which writes are still allowed.

        Raises:
            NotLeading: they are not.
        """
        remaining = self._term.remaining(self._clock())
        if remaining <= 0:
            raise NotLeading(
                f"{self.identity} does not hold the Lease {self._name}; no action is needed: the holder reconciles"
            )
        return remaining

    async def acquire(self) -> None:
        """Return when this replica leads."""
        while True:
            try:
                self._lease = await self._client.get_lease(self._namespace, self._name, REQUEST_SECONDS)
                self._term.observe(self._lease, self._clock())
                if self._clock() >= self._term.expires_at(self._lease):
                    await self._put(self.identity, taking=True)
                    log.info("Leading", extra={"lease": self._name, "identity": self.identity})
                    return
            except (Conflict, AlreadyExists):
                continue
            except OperatorError as error:
                log.warning("Cannot read the Lease: %s", error)
            await asyncio.sleep(self._until_next_look())

    async def hold(self) -> None:
        """Renew the Lease until it is lost.

        Raises:
            NotLeading: the lease is lost.
        """
        while True:
            await asyncio.sleep(max(0.0, min(self._renew_seconds, self._term.remaining(self._clock()))))
            if not self.leading:
                raise NotLeading(f"the Lease {self._name} expired before it could be renewed; this replica exits")
            try:
                await self._put(self.identity)
            except (Conflict, AlreadyExists):
                if not await self._still_ours():
                    self._term.end()
                    raise NotLeading(f"another replica acquired the Lease {self._name}; this one exits") from None
            except OperatorError as error:
                log.warning("Cannot renew the Lease: %s", error)
                await asyncio.sleep(self._renew_seconds / STANDBY_LOOKS)

    async def release(self) -> None:
        """Release the Lease, if this replica holds it, so that a standby takes over at once."""
        if not self.leading:
            return
        self._term.end()
        try:
            await self._put("", renews=False)
            log.info("Released the Lease", extra={"lease": self._name})
        except OperatorError as error:
            log.warning("Cannot release the Lease; it will expire: %s", error)

    async def _still_ours(self) -> bool:
        """Whether this replica still holds the Lease after a conflict: an earlier renewal may have succeeded without a
        response."""
        try:
            self._lease = await self._client.get_lease(self._namespace, self._name, REQUEST_SECONDS)
        except OperatorError:
            return True  # Unknown; the fence expires by itself.
        return self._lease is not None and self._lease["spec"].get("holderIdentity") == self.identity

    def _until_next_look(self) -> float:
        interval = self._renew_seconds / STANDBY_LOOKS
        expiry = self._term.expires_at(self._lease) - self._clock()
        return min(interval, expiry) if expiry > 0 else interval

    async def _put(self, holder: str, *, taking: bool = False, renews: bool = True) -> None:
        asked_at = self._clock()
        timeout = REQUEST_SECONDS if taking or not renews else min(REQUEST_SECONDS, self._term.remaining(asked_at))
        self._lease = await self._client.put_lease(self._next_lease(holder, taking), max(timeout, 0.1))
        if renews:
            self._term.renewed(asked_at)

    def _next_lease(self, holder: str, taking: bool) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = self._lease or {"metadata": {"namespace": self._namespace, "name": self._name}}
        spec = dict(before.get("spec") or {})
        if taking:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + (1 if self._lease else 0)
        spec |= {
            "holderIdentity": holder,
            "leaseDurationSeconds": self._duration if holder else 1,
            "renewTime": now,
        }
        metadata = {
            k: before["metadata"][k] for k in ("namespace", "name", "resourceVersion") if k in before["metadata"]
        }
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
