"""What a pure `plan` decides: objects that must exist, the status, effects elsewhere, and when to look again.

A plan is data. The shell (reconcile.py) carries it out in this order: urgent effects, deletions, objects, patches,
status, events, effects. An object that is refused stops none of what follows it. Effects are idempotent and their
results are seen by the next observation, never by the plan itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from kinema_api.base import ApiModel

KubeObject = Mapping[str, Any]
"""A Kubernetes object as plain JSON data."""


@dataclass(frozen=True)
class Key:
    """Names one custom resource."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Ref:
    """Names one Kubernetes object; with `uid` only that very object."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str | None = None


@dataclass(frozen=True)
class Apply:
    """An object that must be so. `once`: made if absent, never changed after (a Job, a Pod)."""

    manifest: KubeObject
    once: bool = False


@dataclass(frozen=True)
class Patch:
    """A JSON merge patch, refused by the API server if the object has moved on since it was observed."""

    ref: Ref
    resource_version: str | None
    """None: what it says holds whatever else has changed; only the object itself must be the one of `ref`."""
    body: KubeObject
    subresource: str | None = None
    strategic: bool = False
    """Lists are merged by their keys, as Kubernetes' own kinds have them."""


@dataclass(frozen=True)
class Event:
    """A Kubernetes event about the reconciled object; emitted on transitions only."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


class Effect:
    """Something to do outside the API server; each controller has its own subclasses (frozen dataclasses)."""

    urgent: ClassVar[bool] = False
    """Comes before everything else in a plan, and is done whatever else is refused: what runs already lives on it."""


@dataclass(frozen=True)
class WireStatus:
    """A status that is written exactly so: by an operator that does not understand all of it."""

    wire: Mapping[str, Any]
    finished: bool = False
    """Nothing is added to it either."""


@dataclass(frozen=True)
class Plan:
    """Everything that one reconcile does."""

    apply: tuple[Apply, ...] = ()
    patches: tuple[Patch, ...] = ()
    delete: tuple[Ref, ...] = ()
    status: ApiModel | WireStatus | None = None
    """The whole status as it should be; written only if it differs from what is there. None: as it is."""
    events: tuple[Event, ...] = ()
    effects: tuple[Effect, ...] = ()
    requeue_after: float | None = None
    """Seconds after which to look again even if nothing is seen to change."""
    words_may_wait: bool = False
    """A status that differs in reasons and messages of conditions alone may be written later, as mere progress is.
    Nobody decides by these words, and they change with every pod that comes."""
    wake: tuple[Key, ...] = field(default=())
    """Other resources that should be looked at now."""
