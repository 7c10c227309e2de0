"""Effects of a VideoGeneration outside the API server, as data; `perform.py` carries them out."""

from __future__ import annotations

from dataclasses import dataclass

from kinema_operator.core.plan import Effect
from kinema_operator.dispatch.server_pod import ServerPod
from kinema_operator.generation.observed import Copy


@dataclass(frozen=True)
class SendOrder(Effect):
    """Send the order of an attempt to its server. Sending it twice has no further effect."""

    server: ServerPod
    attempt: int
    digest: str
    seed: int


@dataclass(frozen=True)
class CancelOrder(Effect):
    """Stop an order on a server."""

    server: ServerPod
    uid: str


@dataclass(frozen=True)
class Commit(Effect):
    """Copy the files of the delivery in the status to their final keys."""

    copies: tuple[Copy, ...]


@dataclass(frozen=True)
class Record(Effect):
    """Write commit.json beside the clip, for a cluster that is restored without statuses."""


@dataclass(frozen=True)
class Clean(Effect):
    """Delete files of an ended request that are not needed."""

    keys: tuple[str, ...]
