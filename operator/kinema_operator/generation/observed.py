"""The observation for the plan of a VideoGeneration: frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from kinema_api import layout
from kinema_api.base import ArtifactStore
from kinema_api.generation import PinnedInput
from kinema_api.wire import OrderState
from kinema_operator.dispatch.server_pod import ServerPod, ServerProblem
from kinema_operator.generation.record import CommitRecord

ORDERED_FILES: Final = tuple(layout.ARTEFACTS)
"""The files that a server uploads."""


@dataclass(frozen=True)
class NoResponse:
    """A server did not respond; `message` has the reason."""

    message: str
    unreachable: bool = False
    """No connection is accepted: the node is lost, rather than the process stuck."""


@dataclass(frozen=True)
class Unreadable(NoResponse):
    """A server's response cannot be parsed, so a retry with it is useless."""


@dataclass(frozen=True)
class Unknown:
    """A server does not know the order."""


Answer = OrderState | Unknown | NoResponse
"""A server's response about an order."""


@dataclass(frozen=True)
class Problem:
    """Why a request cannot continue now (or, if `fatal`, ever)."""

    reason: str
    message: str
    fatal: bool = False


@dataclass(frozen=True)
class OrderRefusal:
    """A server did not accept an order."""

    kind: Literal["busy", "outdated", "never", "unfit", "unsent"]
    """`busy`: with another order; `outdated`: it knows a later attempt; `never`: no server can render it; `unfit`: this
    server cannot parse it, another may; `unsent`: the order could not be created, for the reason in `problem`."""
    message: str
    problem: Problem | None = None


@dataclass(frozen=True)
class Model:
    """The VideoModel that the request names."""

    digest: str | None
    message: str = ""
    """Why there is no digest yet."""
    store: ArtifactStore | None = None
    """Store of its weights; None: the operator's own."""
    folder: str | None = None
    """s3://BUCKET/PREFIX/ of its weights if it is not a published model."""


@dataclass(frozen=True)
class AssignedServer:
    """The server that this request is assigned to."""

    server: ServerPod
    in_hand: str | None = None
    """uid of an order that it still works on although the order has been given up."""
    stopping_seconds: float = 0.0
    """Seconds since it was first asked to stop that order."""


@dataclass(frozen=True)
class Copy:
    """One server-side copy of a commit, of the verified version only."""

    source: str
    target: str
    etag: str
    content_type: str | None = None
    """Content type of the copy."""


@dataclass(frozen=True)
class CommittedFile:
    """A file at its final key, verified by its digest."""

    name: str
    uri: str
    url: str
    url_expires: datetime
    sha256: str
    bytes: int


@dataclass(frozen=True)
class SignedAddress:
    """A new presigned URL of a committed file."""

    uri: str
    url: str
    expires: datetime


@dataclass(frozen=True)
class Inspection:
    """The state of an attempt's files."""

    copies: tuple[Copy, ...] = ()
    """Copies still to be made; their sources are verified."""
    committed: tuple[CommittedFile, ...] = ()
    """All files, once every one is committed."""
    recorded: bool = True
    """Whether commit.json exists."""
    broken: str | None = None
    """Why this attempt can never be committed: a file is missing or differs from the server's report."""


@dataclass(frozen=True)
class Observed:
    """The observation of a generation."""

    model: Model | None = None
    """None: the VideoModel does not exist."""
    position: int | None = None
    """Number of requests ahead in the queue."""
    servers: int = 0
    """Number of ready servers of its digest."""
    assigned: AssignedServer | None = None
    server: ServerPod | None = None
    """The pod of the attempt, if it still exists with the same UID."""
    answer: Answer | None = None
    """Its response about the attempt; None: not asked."""
    refusal: OrderRefusal | None = None
    """Its refusal of this attempt."""
    inspection: Inspection | None = None
    problem: Problem | None = None
    addresses: tuple[SignedAddress, ...] = ()
    """New presigned URLs; set when those in the status have passed half of their lifetime."""
    trouble: ServerProblem | None = None
    """Why a server of its digest does not run, if none is ready."""
    inputs: tuple[PinnedInput, ...] = ()
    """The inputs of the request, as they are now."""
    restored: CommitRecord | None = None
    """The record of a commit that the status does not have."""
    leftovers: tuple[str, ...] | None = None
    """Keys of an ended request that are not needed; None: not looked up."""
