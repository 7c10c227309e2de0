"""Finds the model that a run begins with: by its digest, by a VideoModel, or in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from kinema_api import layout, serving
from kinema_api.base import ArtifactStore
from kinema_api.errors import BrokenManifest, ObjectMissing, ObjectTooLarge
from kinema_api.finetune import MAX_MODEL_CONFIG_BYTES, MODEL_CONFIG, BaseStatus, base_clip
from kinema_api.manifest import Manifest
from kinema_api.objectstore import ObjectStore
from kinema_api.training import VideoModelTraining
from kinema_operator.core.controller import Cache
from kinema_operator.core.stores import FolderNotAllowed, folder_prefix
from kinema_operator.shell.store_limits import ask
from kinema_operator.training.observed import BaseSeen

_NOT_OURS: Final = (
    "it is no model that Kinema trained, and folders of open weights are served but not trained from; "
    "name another model"
)


async def find_base(training: VideoModelTraining, cache: Cache, store: ObjectStore) -> BaseSeen | None:
    """The base of a training in its store, or why there is none; None: its spec names none.

    Raises:
        StorageError: the store cannot be used now.
    """
    wanted = training.spec.model.init_from
    if wanted is None:
        return None
    if wanted.digest:
        return await ask(store, partial(_read, store, layout.model_prefix(wanted.digest), wanted.digest))
    if wanted.model:
        return await _served(training, wanted.model, cache, store)
    meta = training.metadata
    try:
        prefix = folder_prefix(str(wanted.folder), meta.namespace, store.location.bucket, training.spec.artifact_store)
    except FolderNotAllowed as error:
        return BaseSeen(reason="FolderNotAllowed", message=str(error))
    return await ask(store, partial(_read, store, prefix, None))


async def _served(training: VideoModelTraining, name: str, cache: Cache, store: ObjectStore) -> BaseSeen:
    namespace = training.metadata.namespace
    found = cache.get(serving.KIND, namespace, name)
    if found is None:
        message = f"VideoModel {name!r} does not exist in the namespace {namespace!r}: apply it, or name another one"
        return BaseSeen(reason="BaseNotFound", message=message)
    if not _same_store(found, training.spec.artifact_store):
        message = f"VideoModel {name!r} has another object store than this training: set the same spec.artifactStore"
        return BaseSeen(reason="BaseInOtherStore", message=message)
    status = found.get("status") or {}
    digest, uri = status.get("digest"), status.get("uri") or ""
    prefix = uri.removeprefix(f"s3://{store.location.bucket}/")
    if not digest or prefix == uri:
        return BaseSeen(reason="BaseNotResolved", message=f"VideoModel {name!r} has no model yet: wait for it")
    return await ask(store, partial(_read, store, prefix, digest))


def _same_store(model: Mapping[str, Any], own: ArtifactStore | None) -> bool:
    theirs = (model.get("spec") or {}).get("artifactStore")
    if theirs is None or own is None:
        return theirs is None and own is None
    return (theirs.get("endpoint"), theirs.get("bucket")) == (own.endpoint, own.bucket)


def _read(store: ObjectStore, prefix: str, digest: str | None) -> BaseSeen:
    """The model below `prefix`; `digest` is the one that it must have, if it is known. Blocks."""
    where = store.uri(prefix)
    try:
        found = Manifest.read(store, prefix + layout.MANIFEST)
        if all(file.name != MODEL_CONFIG for file in found.files):
            return BaseSeen(reason="BaseUnreadable", message=f"{where} has no {MODEL_CONFIG}: {_NOT_OURS}")
        clip = base_clip(store.get(prefix + MODEL_CONFIG, MAX_MODEL_CONFIG_BYTES))
    except ObjectMissing as error:
        message = f"{error}: publish the model to this store, or correct model.initFrom"
        return BaseSeen(reason="BaseNotFound", message=message)
    except (BrokenManifest, ObjectTooLarge, ValueError) as error:
        why = str(error).splitlines()[0]
        message = f"the model in {where} cannot be read ({why}): publish it again, or correct model.initFrom"
        return BaseSeen(reason="BaseUnreadable", message=message)
    if found.kind != "model" or digest not in (None, found.digest()):
        message = f"{where} holds no model {digest or ''}: publish it again, or correct model.initFrom"
        return BaseSeen(reason="BaseUnreadable", message=message)
    uri = f"s3://{store.location.bucket}/{prefix}"
    return BaseSeen(BaseStatus(digest=found.digest(), uri=uri, clip=clip))
