"""The number of servers of a digest: one per active request, scaled in after a delay. Pure.

Surplus servers stay for `idleSeconds` after their last request, since loading weights costs more than an idle minute.
Busy servers are never removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from kinema_api.serving import Serving
from kinema_operator.core.plan import Patch
from kinema_operator.dispatch.requests import Request
from kinema_operator.dispatch.server_pod import DELETION_COST_ANNOTATION, ServerPod
from kinema_operator.serving.observed import Demand

BUSY_COST: Final = 1000
"""The ReplicaSet controller removes pods of lower cost first; the default is 0."""


def demand_for(requests: Iterable[Request], digest: str, current: str | None, idle: timedelta, now: datetime) -> Demand:
    """The demand for `digest` now and within the last `idle`; requests without a digest count for `current`."""
    active, ended = 0, []
    for request in requests:
        if (request.digest or current) != digest:
            continue
        if request.active:
            active += not request.held
        elif request.completed is not None and request.completed + idle > now:
            ended.append(request.completed + idle)
    return Demand(active, len(ended), min(ended, default=None))


def desired_replicas(demand: Demand, current: int, warm: bool, serving: Serving) -> int:
    """Replicas for the digest of new requests; `warm`: the last request ended less than idleSeconds ago."""
    needed = max(serving.min_replicas, min(demand.active, serving.max_replicas))
    recent = max(demand.recent, 1 if warm else 0)
    held = min(current, demand.active + recent)
    return min(serving.max_replicas, max(needed, held))


def desired_for_former(demand: Demand, serving: Serving) -> int:
    """Replicas for a digest without new requests: as many as its last requests need, then none."""
    return min(demand.active, serving.max_replicas)


def shared(needs: Mapping[str, int], requests: Iterable[Request], current: str | None, limit: int) -> dict[str, int]:
    """Servers by digest, at most `limit` in all: first for running requests, then for queued ones, then warm servers.

    `needs`: servers that each digest would get alone. Requests without a digest count for `current`.
    """
    running = Counter(r.digest or current for r in requests if r.assigned)
    granted = {digest: min(need, running[digest]) for digest, need in needs.items()}
    waiting = sorted((r for r in requests if r.waiting), key=lambda r: (r.created, r.name))
    wanted = [r.digest or current for r in waiting] + [d for d, need in needs.items() for _ in range(need)]
    left = limit - sum(granted.values())
    for digest in wanted:
        if left <= 0:
            break
        if digest in granted and granted[digest] < needs[digest]:
            granted[digest] += 1
            left -= 1
    return granted


def protect_busy(servers: Iterable[ServerPod], busy: frozenset[str]) -> tuple[Patch, ...]:
    """Patches that set the deletion cost of busy pods, and remove it from pods that are no longer busy."""
    patches = []
    for server in servers:
        cost = BUSY_COST if server.uid in busy else 0
        if server.deletion_cost != cost and not server.terminating:
            body = {"metadata": {"annotations": {DELETION_COST_ANNOTATION: str(cost) if cost else None}}}
            patches.append(Patch(server.ref, server.resource_version, body))
    return tuple(patches)
