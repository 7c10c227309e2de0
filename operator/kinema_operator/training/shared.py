"""What all trainings of a namespace share, and what older versions made for each: who needs which of them.

The shared objects belong to no single training, so no owner reference takes them away. Whichever training is under
way has them made; they go when neither a training nor a pod or Job of one is left in the namespace. Should they go
just as another training comes, the next look at that one makes them again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from kinema_api import names
from kinema_api.training import KIND, VideoModelTraining
from kinema_operator.core.controller import Cache
from kinema_operator.core.plan import KubeObject, Ref
from kinema_operator.core.resources import ref_to
from kinema_operator.shell.writer import controller_uid

SHARED: Final = (("Service", names.RENDEZVOUS_SERVICE), ("NetworkPolicy", names.TRAININGS_POLICY))
"""Kind and name of what there is once in each namespace with trainings."""


class StoresNamed:
    """Endpoints of the stores that the trainings of each namespace name, kept as they come and go."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], str] = {}
        self._named: dict[str, Counter[str]] = {}

    def put(self, obj: KubeObject) -> None:
        """Take in a training, in place of the one of the same name."""
        self.remove(obj)
        metadata, endpoint = obj["metadata"], _endpoint(obj)
        self._of[(metadata["namespace"], metadata["name"])] = endpoint
        self._named.setdefault(metadata["namespace"], Counter())[endpoint] += 1

    def remove(self, obj: KubeObject) -> None:
        """Let go of the training of this name."""
        namespace = obj["metadata"]["namespace"]
        endpoint = self._of.pop((namespace, obj["metadata"]["name"]), None)
        if endpoint is None:
            return
        named = self._named[namespace]
        named[endpoint] -= 1
        if not named[endpoint]:
            del named[endpoint]
        if not named:
            del self._named[namespace]

    def of(self, namespace: str) -> tuple[str, ...]:
        """In a stable order; empty if there is no training; "" stands for the operator's own store."""
        return tuple(sorted(self._named.get(namespace, ())))


def stores_named(cache: Cache, namespace: str) -> tuple[str, ...]:
    """Endpoints of the stores that the trainings of a namespace name."""
    view: Any = getattr(cache, "view", None)
    if view is not None and cache.list_state(KIND) != "unknown":
        kept: StoresNamed = view(KIND, StoresNamed)
        return kept.of(namespace)
    found = StoresNamed()
    for obj in cache.list(KIND, namespace):
        found.put(obj)
    return found.of(namespace)


def is_shared(obj: KubeObject) -> bool:
    """Whether the object is one of those that a namespace has once."""
    return (obj["kind"], obj["metadata"]["name"]) in SHARED


def needless(cache: Cache, namespace: str) -> tuple[Ref, ...]:
    """The shared objects of a namespace in which nothing of a training is left."""
    found = [obj for kind, name in SHARED if (obj := cache.get(kind, namespace, name)) and not _leaves(obj)]
    if not found or stores_named(cache, namespace):
        return ()
    left = (obj for kind in ("Job", "Pod") for obj in cache.list(kind, namespace))
    if any((obj["metadata"].get("labels") or {}).get(names.LABEL_TRAINING) for obj in left):
        return ()
    return tuple(ref_to(obj) for obj in found)


def of_older_versions(training: VideoModelTraining, cache: Cache) -> tuple[Ref, ...]:
    """The Service and NetworkPolicy that an older version made for this training alone."""
    meta = training.metadata
    wanted = (
        ("Service", names.pods_service_name(meta.name)),
        ("NetworkPolicy", names.network_policy_name(meta.name)),
    )
    found: Iterable[KubeObject | None] = (cache.get(kind, meta.namespace, name) for kind, name in wanted)
    return tuple(ref_to(obj) for obj in found if obj and controller_uid(obj) == meta.uid and not _leaves(obj))


def _leaves(obj: KubeObject) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def _endpoint(obj: KubeObject) -> str:
    """As the spec has it, which may be anything: an operator that is older than the CRD reads it too."""
    store = (obj.get("spec") or {}).get("artifactStore")
    return str(store.get("endpoint") or "") if isinstance(store, dict) else ""
