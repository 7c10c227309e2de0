"""Claims of installs of Kinema on namespaces: a Lease in the namespace, acquired by the first and renewed by its
leader.

An operator of the whole cluster and one of a single namespace may watch the same resources and would undo each other's
changes for ever. So an install reconciles only where it holds the claim. Another install reports that it does not, and
takes over when the claim has not been renewed for its duration, by its own monotonic clock, as in leader.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from kinema_api import names
from kinema_operator.core.errors import AlreadyExists, Conflict, Denied, OperatorError
from kinema_operator.core.settings import Settings
from kinema_operator.shell.client import Client
from kinema_operator.shell.leader import REQUEST_SECONDS, Term

log = logging.getLogger(__name__)

RENEWALS: Final = 3
"""Renewals per duration of a claim."""
LOOK_SECONDS: Final = 15.0
"""Interval at which another install's claim is checked."""


@dataclass
class _Claim:
    """The claim on one namespace."""

    term: Term
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    lease: dict[str, Any] | None = None
    other: str | None = None
    due_at: float = float("-inf")


class Claims:
    """The claims of one replica; used only while it leads."""

    def __init__(self, settings: Settings, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self.install = f"{settings.pod_namespace}/{settings.lease_name}"
        """Name of this install in claims: its replicas share one leader's Lease."""
        self._client = client
        self._clock = clock
        self._seconds = settings.claim_duration_seconds
        self._claims: dict[str, _Claim] = {}

    async def holder(self, namespace: str) -> str | None:
        """The other install that holds the claim on the namespace, or None: this one does.

        Raises:
            OperatorError: the Lease cannot be read or written now.
        """
        claim = self._claims.setdefault(namespace, _Claim(Term(self.install, float(self._seconds))))
        if self._clock() >= claim.due_at:
            async with claim.lock:
                if self._clock() >= claim.due_at:
                    await self._look(namespace, claim)
        return claim.other

    async def renew(self, wanted: Callable[[str], bool]) -> None:
        """Renew for ever the claims on namespaces that are still `wanted`; others expire."""
        while True:
            await asyncio.sleep(self._seconds / RENEWALS / 4)
            for namespace in [n for n, claim in self._claims.items() if claim.other is None]:
                if not wanted(namespace):
                    del self._claims[namespace]
                    continue
                try:
                    await self.holder(namespace)
                except OperatorError as error:
                    log.warning("Cannot renew the Lease of the namespace %s: %s", namespace, error)

    async def _look(self, namespace: str, claim: _Claim) -> None:
        for _ in range(2):
            try:
                lease = await self._client.get_lease(namespace, names.CLAIM_LEASE, REQUEST_SECONDS)
                claim.term.observe(lease, self._clock())
                holder = (lease or {}).get("spec", {}).get("holderIdentity")
                if holder != self.install and self._clock() < claim.term.expires_at(lease):
                    claim.other, claim.due_at = str(holder), self._clock() + min(LOOK_SECONDS, self._seconds / RENEWALS)
                    return
                await self._take(namespace, claim, lease)
            except (Conflict, AlreadyExists):
                continue  # Another replica or install was faster: read the Lease again.
            except Denied as error:
                # Roles of an older release: continue without claims, as before.
                log.warning("No permission for the Lease of the namespace %s; continuing without: %s", namespace, error)
                claim.other, claim.due_at = None, self._clock() + self._seconds
            return

    async def _take(self, namespace: str, claim: _Claim, lease: dict[str, Any] | None) -> None:
        if self._client.fence:
            self._client.fence()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_PART_OF: "kinema"}
        kept = {k: v for k, v in ((lease or {}).get("metadata") or {}).items() if k in ("resourceVersion", "labels")}
        await self._client.put_lease(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"labels": labels, **kept, "namespace": namespace, "name": names.CLAIM_LEASE},
                "spec": {
                    "holderIdentity": self.install,
                    "leaseDurationSeconds": self._seconds,
                    "acquireTime": now,
                    "renewTime": now,
                },
            },
            REQUEST_SECONDS,
        )
        claim.other, claim.due_at = None, self._clock() + self._seconds / RENEWALS
