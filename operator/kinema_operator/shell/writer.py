"""Writes the objects of a plan with as few and as cheap requests as possible.

Objects that are up to date are not written. New ones are created by POST, which costs the API server half of an apply
(measured). Before the first change of such an object, its managedFields are converted to those of an apply, as kubectl
does when it migrates to server-side apply, so that fields which we no longer set are removed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kinema_api import names
from kinema_operator.core.errors import ForeignObject
from kinema_operator.core.plan import Apply, KubeObject
from kinema_operator.core.resources import ref_to
from kinema_operator.core.semantic import APPLIED_ANNOTATION, covers, with_digest
from kinema_operator.shell import metrics
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.shell.client import Client

UNWATCHED_TRUST_SECONDS = 60.0
"""Time for which an object of an unwatched kind is assumed to be unchanged."""
MAX_RIGHT = 4096
"""Most objects that are remembered as up to date."""


@dataclass
class Trust:
    """Unwatched objects of one resource that were up to date recently: name -> applied digest, time."""

    seen: dict[tuple[str, str, str], tuple[str, float]] = field(default_factory=dict)


class Writer:
    """Creates and updates objects."""

    def __init__(self, cache: ObjectCache, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._cache = cache
        self._client = client
        self._clock = clock
        self._right: dict[tuple[str, str, str], tuple[KubeObject, KubeObject]] = {}
        """The last live object that covered the desired one, and that one, compared by identity."""

    async def write(self, wanted: Apply, trust: Trust) -> None:
        """Create or update the object if it differs.

        Raises:
            ForeignObject: an object of that name belongs to another owner.
            ApiError: a request failed.
        """
        kind, metadata = wanted.manifest["kind"], wanted.manifest["metadata"]
        name = (kind, metadata["namespace"], metadata["name"])
        live, said = self._right.get(name, (None, None))
        if said is wanted.manifest and live is not None and self._cache.get(*name) is live:
            return
        desired = wanted.manifest if wanted.once else with_digest(wanted.manifest)
        watched = self._cache.watches(kind)
        if not watched and not wanted.once and self._trusted(trust, name, desired):
            return
        live = self._cache.get(*name) if watched else await self._client.get(*name)
        made = False
        if live is None:
            live, made = await self._client.create(desired)
        require_same_owner(live, desired)
        if made:
            metrics.WRITES.labels(kind, "create").inc()
        elif not wanted.once and not covers(live, desired):
            await self._change(live, desired)
            metrics.WRITES.labels(kind, "apply").inc()
        elif watched and not wanted.once:
            self._remember(name, live, wanted.manifest)
        if not watched:
            trust.seen[name] = (desired["metadata"].get("annotations", {}).get(APPLIED_ANNOTATION, ""), self._clock())

    def _remember(self, name: tuple[str, str, str], live: KubeObject, said: KubeObject) -> None:
        if len(self._right) >= MAX_RIGHT:
            self._right.clear()
        self._right[name] = (live, said)

    def _trusted(self, trust: Trust, name: tuple[str, str, str], desired: KubeObject) -> bool:
        digest, seen_at = trust.seen.get(name, ("", 0.0))
        same = digest == desired["metadata"]["annotations"][APPLIED_ANNOTATION]
        return same and self._clock() - seen_at < UNWATCHED_TRUST_SECONDS

    async def _change(self, live: KubeObject, desired: KubeObject) -> None:
        metadata = desired["metadata"]
        current = await self._client.get(desired["kind"], metadata["namespace"], metadata["name"])
        if current is not None:
            require_same_owner(current, desired)
            _require_made_here(current)
            entries = as_applied(current["metadata"].get("managedFields") or [])
            if entries is not None:
                body = {"metadata": {"managedFields": entries}}
                await self._client.patch(ref_to(current), body, current["metadata"]["resourceVersion"])
        await self._client.apply(desired)


def as_applied(entries: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """`managedFields` with our entry for create converted to one for apply; None if there is none."""

    def ours(entry: dict[str, Any], operation: str) -> bool:
        same = entry.get("manager") == names.FIELD_MANAGER and not entry.get("subresource")
        return same and entry.get("operation") == operation

    if any(ours(entry, "Apply") for entry in entries) or not any(ours(entry, "Update") for entry in entries):
        return None
    return [{**entry, "operation": "Apply"} if ours(entry, "Update") else entry for entry in entries]


def require_same_owner(live: KubeObject, desired: KubeObject) -> None:
    """Refuse to change an object of another owner.

    Raises:
        ForeignObject: `live` has another controlling owner than `desired`, or none.
    """
    theirs, ours = controller_uid(live), controller_uid(desired)
    if ours is not None and theirs != ours:
        metadata = desired["metadata"]
        raise ForeignObject(
            f"{desired['kind']} {metadata['namespace']}/{metadata['name']} exists and belongs to "
            f"{theirs or 'nobody'}; delete it, or wait until the garbage collector has"
        )


def _require_made_here(live: KubeObject) -> None:
    """Refuse to change an object without an owner that Kinema has not created.

    Raises:
        ForeignObject: `live` does not carry Kinema's label.
    """
    metadata = live["metadata"]
    if (metadata.get("labels") or {}).get(names.LABEL_MANAGED_BY) != names.MANAGED_BY:
        raise ForeignObject(
            f"{live['kind']} {metadata['namespace']}/{metadata['name']} exists and was not created by Kinema; "
            "delete it, or choose another name"
        )


def controller_uid(obj: KubeObject) -> str | None:
    """UID of the controlling owner, if there is one."""
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return str(owner["uid"])
    return None
