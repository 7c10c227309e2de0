"""Objects that all trainings of a namespace share, and those that older versions created for each training.

The shared objects have no owner reference, since they belong to no single training. Every running training creates them
if they are missing; they are deleted when the namespace has no training and no Job or pod of one. If a new training
appears meanwhile, its next reconcile creates them again.
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
"""Kind and name of the shared objects."""


class StoresNamed:
    """Endpoints of the stores of each namespace's trainings, updated incrementally."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], str] = {}
        self._named: dict[str, Counter[str]] = {}

    def put(self, obj: KubeObject) -> None:
        """Add a training or replace the one of the same name."""
        self.remove(obj)
        metadata, endpoint = obj["metadata"], _endpoint(obj)
        self._of[(metadata["namespace"], metadata["name"])] = endpoint
        self._named.setdefault(metadata["namespace"], Counter())[endpoint] += 1

    def remove(self, obj: KubeObject) -> None:
        """Remove the training of this name."""
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
        """Endpoints in a stable order; empty if there is no training; "" is the operator's own store."""
        return tuple(sorted(self._named.get(namespace, ())))


def stores_named(cache: Cache, namespace: str) -> tuple[str, ...]:
    """Endpoints of the stores of a namespace's trainings."""
    view: Any = getattr(cache, "view", None)
    if view is not None and cache.list_state(KIND) != "unknown":
        kept: StoresNamed = view(KIND, StoresNamed)
        return kept.of(namespace)
    found = StoresNamed()
    for obj in cache.list(KIND, namespace):
        found.put(obj)
    return found.of(namespace)


def is_shared(obj: KubeObject) -> bool:
    """Whether the object is one of the shared ones."""
    return (obj["kind"], obj["metadata"]["name"]) in SHARED


def needless(cache: Cache, namespace: str) -> tuple[Ref, ...]:
    """The shared objects of a namespace without trainings and their Jobs and pods."""
    found = [obj for kind, name in SHARED if (obj := cache.get(kind, namespace, name)) and not _leaves(obj)]
    if not found or stores_named(cache, namespace):
        return ()
    left = (obj for kind in ("Job", "Pod") for obj in cache.list(kind, namespace))
    if any((obj["metadata"].get("labels") or {}).get(names.LABEL_TRAINING) for obj in left):
        return ()
    return tuple(ref_to(obj) for obj in found)


def of_older_versions(training: VideoModelTraining, cache: Cache) -> tuple[Ref, ...]:
    """The Service and NetworkPolicy that an older version created for this training alone."""
    meta = training.metadata
    wanted = (
        ("Service", names.pods_service_name(meta.name)),
        ("NetworkPolicy", names.network_policy_name(meta.name)),
    )
    found: Iterable[KubeObject | None] = (cache.get(kind, meta.namespace, name) for kind, name in wanted)
    return tuple(ref_to(obj) for obj in found if obj and controller_uid(obj) == meta.uid and not _leaves(obj))


def preparation_policies(training: VideoModelTraining, cache: Cache) -> tuple[Ref, ...]:
    """The NetworkPolicies of the pods that prepare this training's clips, which go with the phase."""
    meta = training.metadata
    if not training.spec.data.videos or not training.status.run:
        return ()
    found = cache.get("NetworkPolicy", meta.namespace, names.preparation_name(meta.name, training.status.run))
    return (ref_to(found),) if found and controller_uid(found) == meta.uid and not _leaves(found) else ()


def _leaves(obj: KubeObject) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def _endpoint(obj: KubeObject) -> str:
    """The endpoint in the spec, of any type: the CRD may be newer than this operator."""
    store = (obj.get("spec") or {}).get("artifactStore")
    return str(store.get("endpoint") or "") if isinstance(store, dict) else ""
