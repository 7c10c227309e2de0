"""What a training has done in the object store, and the Secret made of fresh keys. Every effect is idempotent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from kinema_api import layout
from kinema_api.errors import BrokenManifest, ObjectMissing
from kinema_api.manifest import Manifest
from kinema_api.objectstore import ObjectStore
from kinema_api.training import VideoModelTraining
from kinema_operator.plan import Effect
from kinema_operator.settings import Settings
from kinema_operator.storage import Stores
from kinema_operator.training import fence
from kinema_operator.training.secret import storage_secret


@dataclass(frozen=True)
class IssueCredentials(Effect):
    """Make or renew the Secret with the trainers' storage credentials."""

    urgent: ClassVar[bool] = True


@dataclass(frozen=True)
class Publish(Effect):
    """Check an attempt's export and copy it to models/<digest>/."""

    run: int
    attempt: int
    export: str
    """Prefix of the export."""
    digest: str
    """Digest of the manifest that was seen there."""


@dataclass(frozen=True)
class PruneCheckpoints(Effect):
    """Delete a run's old checkpoints."""

    run: int
    prefix: str
    """Prefix of the run."""
    keep: int
    protected: str | None
    """Prefix of the checkpoint that the current attempt resumed from."""


async def credentials_secret(
    training: VideoModelTraining, stores: Stores, settings: Settings
) -> tuple[dict[str, object], datetime]:
    """A Secret with new credentials for this training alone, and when they run out.

    Raises:
        StorageError: the store gives none.
    """
    meta = training.metadata
    store = await stores.for_object(meta.namespace, training.spec.artifact_store)
    prefix = layout.training_prefix(meta.namespace, meta.name, meta.uid)
    credentials = await stores.scoped_credentials(store, [prefix], settings.credentials_seconds)
    expires = datetime.fromtimestamp(credentials.expires or 0, UTC)
    return storage_secret(training, store.location, credentials), expires


async def publish(store: ObjectStore, effect: Publish) -> None:
    """Check every file against the manifest, copy exactly those versions, then write the manifest.

    Raises:
        BrokenManifest: the export is not what its manifest says; it can never be published.
        StorageError: the store cannot be used now.
    """
    await asyncio.to_thread(_publish, store, effect)


async def prune(store: ObjectStore, effect: PruneCheckpoints) -> None:
    """Delete what the fence allows to delete.

    Raises:
        StorageError: the store cannot be used now.
    """
    await asyncio.to_thread(_prune, store, effect)


def _publish(store: ObjectStore, effect: Publish) -> None:
    target = layout.model_prefix(effect.digest)
    if store.stat(target + layout.MANIFEST):
        return
    manifest = read_export(store, effect.export)
    if manifest is None or manifest.digest() != effect.digest:
        # Exported once more by a later round: the next look sees that.
        return
    for file in manifest.files:
        source = effect.export + file.name
        found = store.stat(source)
        if found is None:
            raise BrokenManifest(f"{source} is named by the export's manifest and missing; the export is made again")
        if store.sha256(source) != (file.sha256, file.bytes):
            raise BrokenManifest(f"{source} does not have the sha256 of its manifest; the export is made again")
        # The version that was checked is the version that is copied, whoever writes to the training's folder.
        store.copy(source, target + file.name, if_etag=found.etag)
    store.put(target + layout.MANIFEST, manifest.to_bytes(), "application/json")


def read_export(store: ObjectStore, export: str) -> Manifest | None:
    """The committed manifest of an export, or None if there is none yet. Blocks.

    Raises:
        BrokenManifest: there is one, and it cannot be read or is not of a model.
        StorageError: the store cannot be used now.
    """
    key = export + layout.MANIFEST
    try:
        manifest = Manifest.read(store, key)
    except ObjectMissing:
        return None
    if manifest.kind != "model":
        raise BrokenManifest(f"{key} is the manifest of a {manifest.kind}, not of a model; the export is made again")
    return manifest


def _prune(store: ObjectStore, effect: PruneCheckpoints) -> None:
    keys = [found.key for found in store.list(effect.prefix)]
    protected = [effect.protected] if effect.protected else []
    for key in fence.to_prune(keys, effect.keep, protected):
        store.delete(key)
