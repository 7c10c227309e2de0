"""What the shell asks of each kind's controller, and what a controller may ask of the shell."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

from kinema_operator.core.plan import Effect, Key, Manifest, Plan

Sight = Literal["unknown", "listed", "refused"]
"""Whether a kind has been listed, so that what is missing does not exist, or may not be."""


class Cache(Protocol):
    """Objects as the informers last saw them. Reading is free and never touches the network."""

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object, or None. `kind` is the Kubernetes kind, such as Pod, Job or VideoModel."""

    def sight(self, kind: str) -> Sight:
        """Whether the kind was listed, so that absence means something, or may not be."""

    def list(self, kind: str, namespace: str | None = None, labels: dict[str, str] | None = None) -> Iterable[Manifest]:
        """Objects of a kind, of one namespace or all, that carry all of `labels`."""


class Reader(Protocol):
    """Objects as the API server has them at this moment."""

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object, or None. Raises `ApiError`."""


class Controller(Protocol):
    """One kind. `observe` and `perform` do I/O; `plan` is pure and decides everything."""

    @property
    def kind(self) -> str:
        """The Kubernetes kind that it reconciles."""

    def keys_for(self, obj: Manifest) -> Iterable[Key]:
        """Which of this controller's resources must be looked at when `obj` (of any watched kind) changes."""

    async def observe(self, key: Key, obj: Manifest, cache: Cache) -> Any:
        """Everything that `plan` needs to know, as frozen data. May ask pods and the object store."""

    def plan(self, obj: Manifest, observed: Any, now: datetime) -> Plan:
        """Decide. No I/O, no clock, no randomness; the same input gives the same plan."""

    async def perform(self, key: Key, obj: Manifest, effect: Effect) -> None:
        """Carry out one effect; idempotent. An exception makes the key be tried again with backoff."""

    async def close(self) -> None:
        """Close its connections; nothing is asked of it afterwards."""


@runtime_checkable
class Farewell(Protocol):
    """A controller that has something to do when a resource goes, beyond what owner references do."""

    async def gone(self, key: Key, cache: Cache) -> None:
        """The resource is deleted, or about to be. Called once more for each look at it, and after an exception."""
