"""An API server in memory, and a wire that kills the operator at a chosen write."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kinema_api import generation
from kinema_operator.core.controller import ListState
from kinema_operator.core.errors import Conflict, NotFound
from kinema_operator.core.plan import Event, KubeObject, Ref
from kinema_operator.core.resources import CHILD_KINDS, CUSTOM_KINDS


class Killed(BaseException):
    """The operator's process is gone; nothing in it may catch this."""


@dataclass
class Tripwire:
    """Kills the operator before its `at`-th write, which is after the one before it."""

    at: int | None = None
    steps: int = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise Killed


class ApiMemory:
    """Objects with resource versions: reads, and writes that conflict as on an API server."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.events: list[tuple[str, str]] = []
        self.attempts: dict[str, list[int]] = {}
        self._version = itertools.count(1)

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self.objects.get((kind, namespace, name))

    def list(
        self, kind: str, namespace: str | None = None, labels: dict[str, str] | None = None
    ) -> Iterable[KubeObject]:
        for (of, within, _), obj in list(self.objects.items()):
            own = obj["metadata"].get("labels", {})
            if of == kind and within == namespace and all(own.get(k) == v for k, v in (labels or {}).items()):
                yield obj

    def list_state(self, kind: str) -> ListState:
        return "listed"

    def watches(self, kind: str) -> bool:
        return kind in CUSTOM_KINDS or kind in CHILD_KINDS

    def put(self, obj: dict[str, Any]) -> dict[str, Any]:
        metadata = obj["metadata"]
        version = str(next(self._version))
        written = {**obj, "metadata": {"uid": f"uid-{version}", **metadata, "resourceVersion": version}}
        self.objects[(obj["kind"], metadata["namespace"], metadata["name"])] = written
        return written


class ApiWrites:
    """The client of one operator: every write passes its tripwire."""

    def __init__(self, memory: ApiMemory, wire: Tripwire) -> None:
        self._memory = memory
        self._wire = wire

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self._memory.get(kind, namespace, name)

    async def apply(self, manifest: KubeObject) -> dict[str, Any]:
        self._wire.step()
        metadata = manifest["metadata"]
        live = self._memory.get(manifest["kind"], metadata["namespace"], metadata["name"]) or {}
        kept = {k: v for k, v in live.get("metadata", {}).items() if k == "uid"}
        return self._memory.put({**live, **manifest, "metadata": {**metadata, **kept}})

    async def patch(
        self,
        ref: Ref,
        body: KubeObject,
        resource_version: str,
        *,
        subresource: str | None = None,
        strategic: bool = False,
    ) -> dict[str, Any]:
        self._wire.step()
        live = self._memory.get(ref.kind, ref.namespace, ref.name)
        if live is None:
            raise NotFound("PATCH", ref.name)
        if live["metadata"]["resourceVersion"] != resource_version:
            raise Conflict("PATCH", ref.name)
        made = self._memory.put(merged(live, body))
        if ref.kind == generation.KIND:
            attempts = self._memory.attempts.setdefault(ref.name, [])
            attempts.append(made["status"].get("attempt", 0))
        return made

    async def patch_status(self, ref: Ref, status: KubeObject, resource_version: str) -> dict[str, Any]:
        return await self.patch(ref, {"status": status}, resource_version)

    async def delete(self, ref: Ref) -> bool:
        self._wire.step()
        live = self._memory.get(ref.kind, ref.namespace, ref.name)
        found = live is not None and ref.uid in (None, live["metadata"]["uid"])
        if found:
            del self._memory.objects[(ref.kind, ref.namespace, ref.name)]
        return found

    async def create(self, manifest: KubeObject) -> tuple[dict[str, Any], bool]:
        metadata = manifest["metadata"]
        live = self._memory.get(manifest["kind"], metadata["namespace"], metadata["name"])
        return (live, False) if live is not None else (await self.apply(manifest), True)

    def tell(self, obj: KubeObject, event: Event) -> None:
        self._wire.step()
        self._memory.events.append((obj["metadata"]["name"], event.reason))


def merged(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result
