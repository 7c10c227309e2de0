"""Which Deployments and pods are a model's: by controlling owner, since anybody in the namespace can write labels.

A pod is given orders, with addresses that open the model and its inputs, and its answers are believed. So it counts
only if the ReplicaSet of a Deployment of this very model controls it. ReplicaSets are not watched: theirs is known by
the Deployment's name, and a pod that names one which does not exist is removed by the garbage collector.
"""

from __future__ import annotations

from collections.abc import Iterable

from kinema_api import serving
from kinema_operator.core.controller import Cache
from kinema_operator.core.plan import KubeObject
from kinema_operator.dispatch.labels import model_selector


def deployments_of(namespace: str, model: str, uid: str | None, cache: Cache) -> Iterable[KubeObject]:
    """Deployments that this model controls; with `uid` None those of any VideoModel of that name."""
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
