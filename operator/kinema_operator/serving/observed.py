"""The observation for the plan of a VideoModel: frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kinema_api.card import ModelCard
from kinema_operator.core.plan import Ref
from kinema_operator.dispatch.requests import Request
from kinema_operator.dispatch.server_pod import ServerPod


@dataclass(frozen=True)
class Source:
    """The model's source. Without a digest, `reason` and `message` say why."""

    digest: str | None = None
    uri: str | None = None
    reason: str = "Resolved"
    message: str = ""
    card: ModelCard | None = None
    bytes: int | None = None
    """Size of a folder's files."""


@dataclass(frozen=True)
class Served:
    """A Deployment of this model."""

    short_digest: str
    replicas: int
    deployment: Ref
    service: Ref | None
    """Its Service, if it exists."""
    scratch: str | None = None
    """Size of its pods' scratch volume."""


@dataclass(frozen=True)
class Observed:
    """The observation of a model."""

    source: Source
    requests: tuple[Request, ...] = ()
    """Generations of this model, including ended ones: see RequestQueue.deciding."""
    servers: tuple[ServerPod, ...] = ()
    served: tuple[Served, ...] = ()
    default_endpoint: str = ""
    """Endpoint of the store that holds the model."""
    beyond: int = 0
    """Number of queued requests beyond `requests`."""
    order_key: str = ""
    """Public key that verifies the operator's orders."""


@dataclass(frozen=True)
class Demand:
    """The demand for one digest."""

    active: int = 0
    """Requests that have not ended."""
    recent: int = 0
    """Requests that ended within idleSeconds."""
    cools_at: datetime | None = None
    """When the first of the recent requests is no longer recent."""
