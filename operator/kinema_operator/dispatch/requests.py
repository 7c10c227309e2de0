"""The request queue of one digest: first come, first served, and the server of each of the first requests. Pure.

Every reconcile computes the assignment from the cache and acts only on its own request. Two reconciles with the same
cache therefore never choose the same server; if a cache lags, the server refuses the order (429).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from kinema_operator.core.plan import KubeObject
from kinema_operator.dispatch.server_pod import FAILING, UNSCHEDULABLE, ServerPod, newest_template

TERMINAL: Final = frozenset({"Succeeded", "Failed", "Cancelled"})
ASSIGNED: Final = frozenset({"Scheduled", "Running"})
QUEUED_REASONS: Final = frozenset(
    {
        "ModelNotFound",
        "ModelNotReady",
        "Queued",
        "ServerStarting",
        UNSCHEDULABLE,
        FAILING,
        "ServerBusy",
        "ServerUnfit",
        "Retrying",
        "Disrupted",
    }
)
"""Reasons of a request that is queued for a server. A request that waits for something else, such as an input or a
store, is held: it takes no server from other requests and keeps none warm."""


@dataclass(frozen=True)
class Request:
    """The fields of a generation that queue and scaling need."""

    name: str
    model: str
    created: str
    """RFC 3339 in UTC, as the API server writes it: sorts like the time."""
    phase: str = "Pending"
    digest: str | None = None
    """Digest that it is pinned to; None: not pinned yet."""
    server_uid: str | None = None
    """UID of the server of the current or last attempt."""
    completed: datetime | None = None
    store_endpoint: str | None = None
    """Endpoint of its own object store."""
    held: bool = False
    """It waits for something other than a server, so it is not queued."""
    input_generations: tuple[str, ...] = ()
    """Generations whose clips are its inputs."""

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.phase not in TERMINAL

    @property
    def assigned(self) -> bool:
        """Whether it has a server."""
        return self.phase in ASSIGNED

    @property
    def serves(self) -> bool:
        """Whether it has a server or is queued for one."""
        return self.active and (self.assigned or not self.held)

    @property
    def waiting(self) -> bool:
        """Whether it is queued."""
        return self.active and not self.assigned and not self.held


def request(manifest: KubeObject) -> Request:
    """A VideoGeneration as a Request; reads raw JSON, since parsing thousands of them would be slow."""
    metadata: Mapping[str, Any] = manifest["metadata"]
    spec: Mapping[str, Any] = manifest.get("spec") or {}
    status: Mapping[str, Any] = manifest.get("status") or {}
    completed = status.get("completionTime")
    return Request(
        name=metadata["name"],
        model=(spec.get("modelRef") or {}).get("name", ""),
        created=metadata.get("creationTimestamp") or "",
        phase=status.get("phase") or "Pending",
        digest=status.get("modelDigest"),
        server_uid=status.get("serverUid"),
        completed=datetime.fromisoformat(completed) if completed else None,
        store_endpoint=(spec.get("artifactStore") or {}).get("endpoint"),
        held=any(_holds(condition) for condition in status.get("conditions") or ()),
        input_generations=input_generations(manifest),
    )


def _holds(condition: Mapping[str, Any]) -> bool:
    unmet = condition.get("type") in ("Accepted", "Scheduled") and condition.get("status") == "False"
    return unmet and condition.get("reason") not in QUEUED_REASONS


def input_generations(manifest: KubeObject) -> tuple[str, ...]:
    """Names of the generations whose clips are inputs of a pending VideoGeneration."""
    spec: Mapping[str, Any] = manifest.get("spec") or {}
    if ((manifest.get("status") or {}).get("phase") or "Pending") != "Pending":
        return ()
    names = ((spec.get(field) or {}).get("generation") for field in ("input", "end"))
    return tuple({name: None for name in names if name})


def request_queue(requests: Iterable[Request], digest: str, current: str | None) -> tuple[Request, ...]:
    """Requests queued for `digest`, in order; requests without a digest are queued for the model's `current` one."""
    waiting = (r for r in requests if r.waiting and (r.digest or current) == digest)
    return tuple(sorted(waiting, key=lambda r: (r.created, r.name)))


def position(line: Sequence[Request], name: str) -> int | None:
    """Number of requests ahead of `name`, or None if it is not queued."""
    return next((place for place, waiting in enumerate(line) if waiting.name == name), None)


def idle_servers(servers: Iterable[ServerPod], requests: Iterable[Request]) -> tuple[ServerPod, ...]:
    """Servers that can take a request now, in a stable order: those of the newest template first."""
    busy = {r.server_uid for r in requests if r.assigned}
    known = tuple(servers)
    newest = newest_template(known)
    free = (s for s in known if s.available and s.uid not in busy)
    return tuple(sorted(free, key=lambda s: (s.template != newest, s.name)))


def assign(line: Sequence[Request], idle: Sequence[ServerPod]) -> dict[str, ServerPod]:
    """Server by request name, for the first in the queue; a request gets another server than last time if possible."""
    free = list(idle)
    chosen: dict[str, ServerPod] = {}
    for waiting in line:
        if not free:
            break
        server = next((s for s in free if s.uid != waiting.server_uid), free[0])
        free.remove(server)
        chosen[waiting.name] = server
    return chosen
