"""What the planner of a VideoGeneration knows of the world: frozen data."""

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
"""What a server is asked to leave behind."""


@dataclass(frozen=True)
class NoResponse:
    """A server did not answer; `message` is a sentence for people."""

    message: str
    unreachable: bool = False
    """Its address takes no connection: the pod's node is gone, rather than its process stuck."""


@dataclass(frozen=True)
class Unreadable(NoResponse):
    """A server answered what is no answer: another try with it would read the same."""


@dataclass(frozen=True)
class Unknown:
    """A server answered that it does not know the order."""


Answer = OrderState | Unknown | NoResponse
"""What a server said about an order."""


@dataclass(frozen=True)
class Problem:
    """Why a request cannot go on now (or, if `fatal`, ever)."""

    reason: str
    message: str
    fatal: bool = False


@dataclass(frozen=True)
class OrderRefusal:
    """A server did not take an order."""

    kind: Literal["busy", "outdated", "never", "unfit", "unsent"]
    """`busy`: with another order; `outdated`: it knows a later attempt; `never`: no server can do it; `unfit`: this
    server does not understand it, another may; `unsent`: the order could not be made, for the reason in `problem`."""
    message: str
    problem: Problem | None = None


@dataclass(frozen=True)
class Model:
    """The VideoModel that the request names."""

    digest: str | None
    message: str = ""
    """Why there is no digest yet."""
    store: ArtifactStore | None = None
    """Where its weights lie; None: in the operator's own store."""


@dataclass(frozen=True)
class AssignedServer:
    """The server that takes this request next."""

    server: ServerPod
    in_hand: str | None = None
    """uid of an order that it still works on although nobody waits for that any more."""
    stopping_seconds: float = 0.0
    """How long ago it was first told to stop that order."""


@dataclass(frozen=True)
class Copy:
    """One server-side copy of a commit: only of exactly the version that was verified."""

    source: str
    target: str
    etag: str
    content_type: str | None = None
    """Of the copy, whatever the source says of itself."""


@dataclass(frozen=True)
class CommittedFile:
    """A file at its final place, verified by its digest."""

    name: str
    uri: str
    url: str
    url_expires: datetime
    sha256: str
    bytes: int


@dataclass(frozen=True)
class SignedAddress:
    """A new address of a file that was committed."""

    uri: str
    url: str
    expires: datetime


@dataclass(frozen=True)
class Inspection:
    """What became of the files of an attempt."""

    copies: tuple[Copy, ...] = ()
    """Still to be done; their sources have been verified."""
    committed: tuple[CommittedFile, ...] = ()
    """All files, once every one of them is at its place."""
    recorded: bool = True
    """Beside them lies the record of the commit."""
    broken: str | None = None
    """Why this attempt can never be committed: a file is missing or is not what the server said."""


@dataclass(frozen=True)
class Observed:
    """One look at the world of a generation."""

    model: Model | None = None
    """None: there is no such VideoModel."""
    position: int | None = None
    """How many stand before it."""
    servers: int = 0
    """Servers of its digest that are ready."""
    assigned: AssignedServer | None = None
    server: ServerPod | None = None
    """The pod that the attempt was given to, if that very pod is still there."""
    answer: Answer | None = None
    """What it says about the attempt; None: not asked."""
    refusal: OrderRefusal | None = None
    """Its refusal of this very attempt."""
    inspection: Inspection | None = None
    problem: Problem | None = None
    addresses: tuple[SignedAddress, ...] = ()
    """Addresses for people, signed again; made when those in the status have lived for half of their time."""
    trouble: ServerProblem | None = None
    """Why a server of its digest does not run, if none is ready."""
    inputs: tuple[PinnedInput, ...] = ()
    """What the request is given, as it is now."""
    restored: CommitRecord | None = None
    """A record that it was committed before, although its status does not know."""
    leftovers: tuple[str, ...] | None = None
    """Keys of what nobody needs of a request that has ended; None: not looked for."""
