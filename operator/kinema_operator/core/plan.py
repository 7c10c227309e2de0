"""The result of a pure `plan`: objects that must exist, the status, effects, and when to reconcile again.

A plan is data. The shell (reconcile.py) carries it out in this order: urgent effects, deletions, objects, patches,
status, events, effects. A refused object does not stop the rest. Effects are idempotent, and the next observation reads
their results.
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
    """Names one Kubernetes object; with `uid` only the object with that UID."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str | None = None


@dataclass(frozen=True)
class Apply:
    """An object that must exist as given. `once`: created if absent, never changed afterwards (a Job, a Pod)."""

    manifest: KubeObject
    once: bool = False


@dataclass(frozen=True)
class Patch:
    """A JSON merge patch, refused by the API server if the object has changed since it was observed."""

    ref: Ref
    resource_version: str | None
    """None: apply to any version of the object with the UID of `ref`."""
    body: KubeObject
    subresource: str | None = None
    strategic: bool = False
    """Send a strategic merge patch, which merges lists by their keys."""


@dataclass(frozen=True)
class Event:
    """A Kubernetes event about the reconciled object; emitted on transitions only."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


class Effect:
    """Something to do outside the API server; each controller has its own subclasses (frozen dataclasses)."""

    urgent: ClassVar[bool] = False
    """Carried out first and even if objects are refused: running pods depend on it."""


@dataclass(frozen=True)
class WireStatus:
    """A status that is written unchanged, since this operator does not know all of its fields."""

    wire: Mapping[str, Any]
    finished: bool = False
    """Add no conditions either."""


@dataclass(frozen=True)
class Plan:
    """The result of one reconcile."""

    apply: tuple[Apply, ...] = ()
    patches: tuple[Patch, ...] = ()
    delete: tuple[Ref, ...] = ()
    status: ApiModel | WireStatus | None = None
    """The complete status, written only if it differs; None: unchanged."""
    events: tuple[Event, ...] = ()
    effects: tuple[Effect, ...] = ()
    requeue_after: float | None = None
    """Seconds after which to reconcile again even without a change."""
    words_may_wait: bool = False
    """If only reasons and messages of conditions differ, the status may be written later, like progress: they change
    with every new pod, and no decision depends on them."""
    wake: tuple[Key, ...] = field(default=())
    """Other resources to reconcile now."""
