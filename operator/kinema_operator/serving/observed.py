"""What the planner of a VideoModel knows of the world: frozen data, so that a plan can be made again from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kinema_operator.core.plan import Ref
from kinema_operator.dispatch.requests import Request
from kinema_operator.dispatch.server_pod import ServerPod


@dataclass(frozen=True)
class Source:
    """What the model's source says now. Without a digest, `reason` and `message` say what is waited for."""

    digest: str | None = None
    uri: str | None = None
    reason: str = "Resolved"
    message: str = ""


@dataclass(frozen=True)
class Served:
    """A Deployment of this model."""

    short_digest: str
    replicas: int
    deployment: Ref
    service: Ref | None
    """Its Service, if there is one."""


@dataclass(frozen=True)
class Observed:
    """One look at the world of a model."""

    source: Source
    requests: tuple[Request, ...] = ()
    """Generations of this model, ended ones included: all that decide (generation.lines)."""
    servers: tuple[ServerPod, ...] = ()
    served: tuple[Served, ...] = ()
    default_endpoint: str = ""
    """Endpoint of the store that holds the model."""
    beyond: int = 0
    """How many more requests wait than are told of here."""
    order_key: str = ""
    """Public key by which servers know the operator's orders."""


@dataclass(frozen=True)
class Demand:
    """Who wants one digest."""

    active: int = 0
    """Requests that wait or run."""
    recent: int = 0
    """Requests that ended within idleSeconds."""
    cools_at: datetime | None = None
    """When the first of the recent ones is no longer recent."""
