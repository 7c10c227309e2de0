"""What the plan of a VideoGeneration may have done outside the API server: data; `perform.py` carries it out."""

from __future__ import annotations

from dataclasses import dataclass

from kinema_operator.core.plan import Effect
from kinema_operator.dispatch.server_pod import ServerPod
from kinema_operator.generation.observed import Copy


@dataclass(frozen=True)
class SendOrder(Effect):
    """Give this attempt to a server. The same attempt sent twice is one order."""

    server: ServerPod
    attempt: int
    digest: str
    seed: int


@dataclass(frozen=True)
class CancelOrder(Effect):
    """Tell a server to stop an order."""

    server: ServerPod
    uid: str


@dataclass(frozen=True)
class Commit(Effect):
    """Copy the files of the one attempt that was fixed in status to their final places."""

    copies: tuple[Copy, ...]


@dataclass(frozen=True)
class Record(Effect):
    """Write down beside the clip what was committed, for a cluster that is restored without statuses."""


@dataclass(frozen=True)
class Clean(Effect):
    """Delete what nobody needs of a request that has ended."""

    keys: tuple[str, ...]
