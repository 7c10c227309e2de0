"""Objects of the API server as last seen, including this process's own writes.

Its sources are lists and watches of the informers, and responses to own writes. The newer resourceVersion wins (they
are comparable numbers since KEP-5504, and were in practice long before), so that a reconcile right after a write sees
the written object before the watch delivers it. Otherwise an attempt number could be derived from an outdated status.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from kinema_api import names
from kinema_operator.core.controller import ListState
from kinema_operator.core.plan import KubeObject, Ref
from kinema_operator.core.resources import NODE_KIND

Listener = Callable[[KubeObject], None]
Name = tuple[str, str]
"""Namespace and name; cluster-scoped objects have the namespace ""."""

SHARED_LENGTH = 24
"""Longest text that is interned: longer ones are rarely in many objects."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
INDEXED_PREFIX = f"{names.GROUP}/"
"""Labels with this prefix are indexed; others only filter."""


class View(Protocol):
    """Data derived from all objects of a kind, updated incrementally. It never raises."""

    def put(self, obj: KubeObject) -> None:
        """Add an object or replace the one of the same name."""

    def remove(self, obj: KubeObject) -> None:
        """Remove the object of this name."""


V = TypeVar("V", bound=View)


def version_of(obj: KubeObject) -> int:
    """The resourceVersion as a number."""
    return int(obj["metadata"].get("resourceVersion") or 0)


def name_of(obj: KubeObject) -> Name:
    """Namespace and name."""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


@dataclass
class KindCache:
    """The objects of one kind."""

    selector: Mapping[str, str] = field(default_factory=dict)
    """Labels of the watched objects; others are not cached, since no watch would report their deletion."""
    objects: dict[str, dict[str, KubeObject]] = field(default_factory=dict)
    """Objects by namespace, then name."""
    by_label: dict[tuple[str, str, str], set[str]] = field(default_factory=dict)
    """Names by (namespace, label, value)."""
    seen: int = 0
    """The newest resourceVersion from a list or watch."""
    gone: set[str] = field(default_factory=set)
    """UIDs that this process deleted and whose deletion the watch has not reported yet."""
    list_state: ListState = "unknown"
    views: dict[Callable[[], View], View] = field(default_factory=dict)
    """Derived data by factory."""


class ObjectCache:
    """Implements controller.Cache and client.Overlay."""

    def __init__(self, listener: Listener) -> None:
        self._shelves: dict[str, KindCache] = {}
        self._listener = listener

    def watch_kind(self, kind: str, selector: Mapping[str, str]) -> None:
        """Cache objects of `kind` with the labels `selector`; other kinds are not cached."""
        self._shelves[kind] = KindCache(selector)

    # Reading: controller.Cache

    def get(self, kind: str, namespace: str, name: str) -> KubeObject | None:
        """One object, or None."""
        shelf = self._shelves.get(kind)
        return shelf.objects.get(namespace, {}).get(name) if shelf else None

    def watches(self, kind: str) -> bool:
        """Whether objects of this kind are cached."""
        return kind in self._shelves

    def list_state(self, kind: str) -> ListState:
        """See ListState."""
        shelf = self._shelves.get(kind)
        return shelf.list_state if shelf else "unknown"

    def list(
        self, kind: str, namespace: str | None = None, labels: dict[str, str] | None = None
    ) -> Iterable[KubeObject]:
        """Objects of a kind, of one namespace or all, that carry all of `labels`."""
        shelf = self._shelves.get(kind)
        if shelf is None:
            return ()
        wanted = labels or {}
        return [obj for obj in _candidates(shelf, namespace, wanted) if carries(obj, wanted)]

    def view(self, kind: str, make: Callable[[], V]) -> V:
        """The data that `make` creates on first use, updated with all objects of `kind` from then on."""
        shelf = self._shelves[kind]
        found = shelf.views.get(make)
        if found is None:
            found = shelf.views[make] = make()
            for obj in self.list(kind):
                found.put(obj)
        return cast(V, found)

    # Feeding: own writes

    def offer(self, obj: KubeObject) -> bool:
        """Add an object that did not come from its list or watch; returns whether it was new."""
        shelf = self._shelves.get(obj["kind"])
        if shelf is None or obj["metadata"]["uid"] in shelf.gone or not carries(obj, shelf.selector):
            return False
        known = self.get(obj["kind"], *name_of(obj))
        if known is None and version_of(obj) <= shelf.seen:
            return False  # The watch is past this version: the object was deleted meanwhile.
        if known is not None and version_of(known) >= version_of(obj):
            return False
        self._put(shelf, obj)
        return True

    def discard(self, ref: Ref, uid: str) -> None:
        """Remove the object with this UID, even if the watch still reports it."""
        shelf = self._shelves.get(ref.kind)
        if shelf is None:
            return
        known = self.get(ref.kind, ref.namespace, ref.name)
        if known is not None and known["metadata"]["uid"] == uid:
            shelf.gone.add(uid)
            self._remove(shelf, known)

    # Feeding: list and watch

    def replace(self, kind: str, objects: Iterable[KubeObject], version: int) -> None:
        """Set the kind's objects as of `version`: missing ones have been deleted, even if no watch reported it."""
        shelf = self._shelves[kind]
        listed: set[Name] = set()
        for obj in objects:
            listed.add(name_of(obj))
            self.advance(kind, "MODIFIED", obj)
        for known in [o for named in shelf.objects.values() for o in named.values()]:
            if name_of(known) not in listed and version_of(known) <= version:
                self._remove(shelf, known)
        shelf.gone.clear()
        shelf.seen = max(shelf.seen, version)
        shelf.list_state = "listed"

    def refuse(self, kind: str) -> None:
        """Note that listing the kind was refused: nothing is known about it."""
        shelf = self._shelves[kind]
        for known in [o for named in shelf.objects.values() for o in named.values()]:
            self._remove(shelf, known)
        shelf.list_state = "refused"

    def advance(self, kind: str, change: str, obj: KubeObject) -> None:
        """One event of a watch: ADDED, MODIFIED, DELETED or BOOKMARK."""
        shelf = self._shelves[kind]
        shelf.seen = max(shelf.seen, version_of(obj))
        if change == "BOOKMARK":
            return
        known = self.get(kind, *name_of(obj))
        uid = obj["metadata"]["uid"]
        if change == "DELETED":
            shelf.gone.discard(uid)
            if known is not None and (known["metadata"]["uid"] == uid or version_of(known) <= version_of(obj)):
                self._remove(shelf, known)
        elif uid not in shelf.gone and (known is None or version_of(known) < version_of(obj)):
            self._put(shelf, obj)

    # Internals

    def _put(self, shelf: KindCache, obj: KubeObject) -> None:
        slim = without_bookkeeping(obj)
        namespace, name = name_of(slim)
        known = shelf.objects.get(namespace, {}).get(name)
        if known is not None:
            _unindex(shelf, known)
        shelf.objects.setdefault(namespace, {})[name] = slim
        for view in shelf.views.values():
            view.put(slim)
        for label in _indexed(slim):
            shelf.by_label.setdefault(label, set()).add(name)
        if known is not None and known["metadata"]["uid"] != slim["metadata"]["uid"]:
            self._listener(known)
        self._listener(slim)

    def _remove(self, shelf: KindCache, known: KubeObject) -> None:
        namespace, name = name_of(known)
        _unindex(shelf, known)
        named = shelf.objects[namespace]
        del named[name]
        if not named:
            del shelf.objects[namespace]
        for view in shelf.views.values():
            view.remove(known)
        self._listener(known)


def carries(obj: KubeObject, labels: Mapping[str, str]) -> bool:
    """Whether the object has all of these labels."""
    own = obj["metadata"].get("labels") or {}
    return all(own.get(label) == value for label, value in labels.items())


def without_bookkeeping(obj: KubeObject) -> KubeObject:
    """The object without fields that the operator does not read, which are often the larger part."""
    metadata: dict[str, Any] = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    if LAST_APPLIED in (metadata.get("annotations") or {}):
        metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if k != LAST_APPLIED}
    slim: KubeObject = {**obj, "metadata": metadata}
    if obj["kind"] == NODE_KIND:
        slim = _slim_node(obj, metadata)
    elif obj["kind"] in _READ_OF:
        slim = _slim(slim, _READ_OF[obj["kind"]])
    found: KubeObject = _shared(slim)
    return found


_READ_OF: Mapping[str, Mapping[str, Any]] = {
    "Pod": {
        "spec": {"nodeName": None, "subdomain": None},
        "status": {
            "phase": None,
            "podIP": None,
            "reason": None,
            "message": None,
            "conditions": None,
            "initContainerStatuses": {"name": None, "state": None, "lastState": None, "ready": None},
            "containerStatuses": {"name": None, "state": None, "lastState": None, "ready": None},
        },
    },
    "Job": {
        "spec": {
            "parallelism": None,
            "completions": None,
            "suspend": None,
            "template": {"spec": {"subdomain": None, "containers": {"name": None, "image": None}}},
        },
        "status": {"conditions": None, "active": None, "succeeded": None, "failed": None, "ready": None},
    },
}
"""The fields that are read of the most frequent kinds, which are created once and never compared."""


def _slim(obj: KubeObject, read: Mapping[str, Any]) -> KubeObject:
    kept = {part: _kept(obj[part], fields) for part, fields in read.items() if obj.get(part) is not None}
    return {key: value for key, value in obj.items() if key not in read} | kept


def _kept(value: Any, fields: Mapping[str, Any] | None) -> Any:
    if fields is None:
        return value
    if isinstance(value, list):
        return [_kept(item, fields) for item in value]
    return {key: _kept(value[key], inner) for key, inner in fields.items() if key in value}


def _shared(value: Any) -> Any:
    """The same data with field names and short texts interned, to save memory."""
    if isinstance(value, Mapping):
        return {sys.intern(key): _shared(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shared(item) for item in value]
    return sys.intern(value) if type(value) is str and len(value) <= SHARED_LENGTH else value


def _slim_node(node: KubeObject, metadata: Mapping[str, Any]) -> KubeObject:
    """The node with only its identity and conditions; its images and addresses take tens of kilobytes."""
    kept = {key: value for key, value in metadata.items() if key not in ("annotations", "labels")}
    conditions = [c for c in (node.get("status") or {}).get("conditions") or () if c["type"] == "Ready"]
    taints = (node.get("spec") or {}).get("taints") or []
    return {**node, "metadata": kept, "spec": {"taints": taints}, "status": {"conditions": conditions}}


def _indexed(obj: KubeObject) -> Iterator[tuple[str, str, str]]:
    namespace = obj["metadata"].get("namespace", "")
    for label, value in (obj["metadata"].get("labels") or {}).items():
        if label.startswith(INDEXED_PREFIX):
            yield namespace, label, value


def _unindex(shelf: KindCache, obj: KubeObject) -> None:
    for label in _indexed(obj):
        found = shelf.by_label.get(label)
        if found is not None:
            found.discard(obj["metadata"]["name"])
            if not found:
                del shelf.by_label[label]


def _candidates(shelf: KindCache, namespace: str | None, labels: Mapping[str, str]) -> Iterable[KubeObject]:
    if namespace is None:
        return (obj for named in shelf.objects.values() for obj in named.values())
    named = shelf.objects.get(namespace, {})
    best: set[str] | None = None
    for label, value in labels.items():
        if label.startswith(INDEXED_PREFIX):
            found = shelf.by_label.get((namespace, label, value), set())
            best = found if best is None or len(found) < len(best) else best
    return named.values() if best is None else [named[name] for name in best]
