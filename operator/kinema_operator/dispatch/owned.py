"""Deployments and pods of a model, by controlling owner, since any client in the namespace can write labels.

A server gets orders with presigned URLs and its responses are trusted. So a pod is a server only if a ReplicaSet of a
Deployment of this model controls it. ReplicaSets are not watched: they are recognised by the Deployment's name, and the
garbage collector removes a pod whose ReplicaSet does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable

from kinema_api import serving
from kinema_operator.core.controller import Cache
from kinema_operator.core.plan import KubeObject
from kinema_operator.dispatch.labels import model_selector


def deployments_of(namespace: str, model: str, uid: str | None, cache: Cache) -> Iterable[KubeObject]:
    """Deployments controlled by the VideoModel with this UID; `uid` None: by any VideoModel of that name."""
    for deployment in cache.list("Deployment", namespace, model_selector(model)):
        for owner in deployment["metadata"].get("ownerReferences") or ():
            named = owner.get("controller") and (owner["kind"], owner["name"]) == (serving.KIND, model)
            if named and uid in (None, owner["uid"]):
                yield deployment


def pods_of(namespace: str, model: str, uid: str | None, cache: Cache) -> Iterable[KubeObject]:
    """Pods of these Deployments."""
    prefixes = tuple(f"{d['metadata']['name']}-" for d in deployments_of(namespace, model, uid, cache))
    for pod in cache.list("Pod", namespace, model_selector(model)):
        for owner in pod["metadata"].get("ownerReferences") or ():
            if owner.get("controller") and owner["kind"] == "ReplicaSet" and owner["name"].startswith(prefixes):
                yield pod
