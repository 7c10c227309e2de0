"""The interfaces between the shell and the controllers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from kinema_operator.core.plan import Effect, Key, KubeObject, Plan

Resource = TypeVar("Resource")
Observed = TypeVar("Observed")

ListState = Literal["unknown", "listed", "refused"]
"""Whether a kind has been listed (objects that are not cached do not exist), or listing it was refused."""


class Cache(Protocol):
    """Objects as last seen by the informers. Reading sends no request."""

    def get(self, kind: str, namespace: str, name: str) -> KubeObject | None:
        """One object, or None. `kind` is the Kubernetes kind, such as Pod, Job or VideoModel."""

    def list_state(self, kind: str) -> ListState:
        """See ListState."""

    def list(
        self, kind: str, namespace: str | None = None, labels: dict[str, str] | None = None
    ) -> Iterable[KubeObject]:
        """Objects of a kind, of one namespace or all, that carry all of `labels`."""


class Reader(Protocol):
    """Reads objects from the API server."""

    async def get(self, kind: str, namespace: str, name: str) -> KubeObject | None:
        """One object, or None. Raises `ApiError`."""


class Controller(Protocol[Resource, Observed]):
    """One kind. `observe` and `perform` do I/O; `plan` is pure and decides everything."""

    @property
    def kind(self) -> str:
        """The Kubernetes kind that it reconciles."""

    def parse(self, obj: KubeObject) -> Resource:
        """Parse the resource; called once per reconcile.

        Raises:
            InvalidManifest: a field is missing, unknown or out of its bounds.
        """

    def keys_for(self, obj: KubeObject) -> Iterable[Key]:
        """Keys of this controller's resources to reconcile when `obj` (of any watched kind) changes."""

    async def observe(self, key: Key, resource: Resource, cache: Cache) -> Observed:
        """Everything that `plan` needs, as frozen data. May read from pods and the object store."""

    def plan(self, resource: Resource, observed: Observed, now: datetime) -> Plan:
        """Decide. No I/O, no clock, no randomness; the same input gives the same plan."""

    async def perform(self, key: Key, resource: Resource, effect: Effect) -> None:
        """Carry out one effect; idempotent. After an exception the key is retried with backoff."""

    async def close(self) -> None:
        """Close its connections; no other method is called afterwards."""


AnyController = Controller[Any, Any]


@runtime_checkable
class DeletionHandler(Protocol):
    """A controller with work to do when a resource is deleted, beyond owner references."""

    async def gone(self, key: Key, cache: Cache) -> None:
        """The resource is deleted or being deleted. May be called several times, also after an exception."""
