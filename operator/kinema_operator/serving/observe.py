"""Observes a VideoModel: the cache, and the object store while the model has no digest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kinema_api import layout, names, training
from kinema_api.errors import StorageError
from kinema_api.serving import VideoModel
from kinema_operator.core.controller import Cache
from kinema_operator.core.plan import KubeObject, Ref
from kinema_operator.core.pods import SCRATCH_VOLUME
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import storage_reason
from kinema_operator.dispatch.labels import model_selector
from kinema_operator.dispatch.owned import deployments_of, pods_of
from kinema_operator.dispatch.queues import queues_of
from kinema_operator.dispatch.server_pod import server_pod
from kinema_operator.serving.folders import Folders
from kinema_operator.serving.observed import Observed, Served, Source
from kinema_operator.shell.storage import StoreSource
from kinema_operator.shell.store_limits import ask


async def observe(
    model: VideoModel, cache: Cache, stores: StoreSource, folders: Folders, settings: Settings, order_key: str = ""
) -> Observed:
    """The observation of `model`."""
    namespace, name = model.metadata.namespace, model.metadata.name
    store = model.spec.artifact_store
    source = await _source(model, cache, stores, folders)
    line = queues_of(cache, namespace).of(namespace, name)
    return Observed(
        source=source,
        requests=line.deciding(),
        beyond=line.beyond,
        order_key=order_key,
        servers=tuple(
            sorted(
                (server_pod(pod) for pod in pods_of(namespace, name, model.metadata.uid, cache)),
                key=lambda server: server.name,
            )
        ),
        served=_served(namespace, name, model.metadata.uid, cache),
        default_endpoint=store.endpoint if store else settings.store_endpoint,
    )


def _served(namespace: str, model: str, uid: str, cache: Cache) -> tuple[Served, ...]:
    services = {s["metadata"]["name"]: s for s in cache.list("Service", namespace, model_selector(model))}
    found = []
    for deployment in deployments_of(namespace, model, uid, cache):
        metadata = deployment["metadata"]
        service = services.get(metadata["name"])
        found.append(
            Served(
                short_digest=metadata["labels"].get(names.LABEL_DIGEST, ""),
                replicas=int((deployment.get("spec") or {}).get("replicas", 1)),
                deployment=_ref("apps/v1", "Deployment", metadata),
                service=_ref("v1", "Service", service["metadata"]) if service else None,
                scratch=_scratch(deployment),
            )
        )
    return tuple(sorted(found, key=lambda served: served.deployment.name))


def _scratch(deployment: KubeObject) -> str | None:
    template = ((deployment.get("spec") or {}).get("template") or {}).get("spec") or {}
    limits = (
        (v.get("emptyDir") or {}).get("sizeLimit") for v in template.get("volumes") or () if v["name"] == SCRATCH_VOLUME
    )
    return next(limits, None)


def _ref(api_version: str, kind: str, metadata: Mapping[str, Any]) -> Ref:
    return Ref(api_version, kind, metadata["namespace"], metadata["name"], metadata.get("uid"))


async def _source(model: VideoModel, cache: Cache, stores: StoreSource, folders: Folders) -> Source:
    source = model.spec.source
    if source.training:
        return _trained(model.metadata.namespace, source.training, cache)
    if source.folder:
        return await folders.source(model, source.folder, stores)
    if source.digest is None:
        return Source(reason="NoSource", message="set source.training, source.digest or source.folder")
    if source.digest == model.status.digest:
        return Source(source.digest, model.status.uri)
    return await _stored(model, source.digest, stores)


def _trained(namespace: str, name: str, cache: Cache) -> Source:
    found = cache.get(training.KIND, namespace, name)
    if found is None:
        return Source(
            reason="TrainingNotFound", message=f"training {name!r} does not exist; apply it or correct source"
        )
    published = (found.get("status") or {}).get("published") or {}
    if not published.get("digest"):
        return Source(reason="NotPublishedYet", message=f"training {name!r} has not published a model yet; wait for it")
    return Source(published["digest"], published.get("uri"))


async def _stored(model: VideoModel, digest: str, stores: StoreSource) -> Source:
    prefix = layout.model_prefix(digest)
    try:
        store = await stores.checked(model.metadata.namespace, model.spec.artifact_store)
        found = await ask(store, store.stat, prefix + layout.MANIFEST)
    except StorageError as error:
        return Source(reason=storage_reason(error), message=str(error))
    if found is None:
        missing = f"{store.uri(prefix + layout.MANIFEST)} does not exist; publish the model or correct source.digest"
        return Source(reason="ModelNotFound", message=missing)
    return Source(digest, store.uri(prefix))
