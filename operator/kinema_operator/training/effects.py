"""What a training has done in the object store, and the Secret made of fresh keys. Every effect is idempotent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import ClassVar, Final

from kinema_api import head as heads
from kinema_api import layout
from kinema_api.errors import BrokenManifest, ObjectMissing
from kinema_api.manifest import Manifest
from kinema_api.objectstore import ObjectStore
from kinema_api.training import ArtifactsRecord, VideoModelTraining
from kinema_operator.core.plan import Effect
from kinema_operator.core.settings import Settings
from kinema_operator.shell.lanes import ask
from kinema_operator.shell.storage import Stores
from kinema_operator.training import fence
from kinema_operator.training.objects.secret import storage_secret

DELETE_SECONDS: Final = 15.0
"""So long one effect may delete: the training's next look waits for it, and with that the renewal of credentials."""


@dataclass(frozen=True)
class IssueCredentials(Effect):
    """Make or renew a Secret with storage credentials: the trainers', or those of the pod that publishes a model."""

    publishes: str | None = None
    """Digest of the model to publish: these open its export and its folder, and nothing else."""

    urgent: ClassVar[bool] = True


@dataclass(frozen=True)
class RememberArtifacts(Effect):
    """Write down, where a backup keeps it, under what the training's artefacts lie."""

    record: ArtifactsRecord


@dataclass(frozen=True)
class PruneCheckpoints(Effect):
    """Delete a run's old checkpoints."""

    run: int
    prefix: str
    """Prefix of the run."""
    keep: int
    protected: str | None
    """Prefix of the checkpoint that the current attempt resumed from."""


@dataclass(frozen=True)
class CleanAttempts(Effect):
    """Delete what nothing needs any more of a run whose model is published."""

    prefix: str
    """Of the run."""
    report: str
    """Prefix of the report on the model."""
    keep: int
    """Newest checkpoints that stay."""


@dataclass(frozen=True)
class DeleteArtifacts(Effect):
    """Delete all that a training has written."""

    prefix: str


@dataclass(frozen=True)
class SetFinalizer(Effect):
    """Have the finalizer on the training, or not."""

    wanted: bool


@dataclass(frozen=True)
class CloseAttempt(Effect):
    """Let nothing be committed any more in an attempt that is over."""

    prefix: str
    """Of the attempt."""


async def close_attempt(store: ObjectStore, effect: CloseAttempt, settings: Settings) -> None:
    """Close the attempt's head.

    Raises:
        StorageError: the store cannot be used now.
    """
    await ask(store, partial(heads.close, store, effect.prefix, weak=settings.allow_weak_fence))


async def credentials_secret(
    training: VideoModelTraining, effect: IssueCredentials, stores: Stores, settings: Settings
) -> tuple[dict[str, object], datetime]:
    """A Secret with new credentials for what the effect names alone, and when they run out.

    Raises:
        StorageError: the store gives none.
    """
    meta = training.metadata
    store = await stores.for_object(meta.namespace, training.spec.artifact_store)
    prefixes = [layout.training_prefix(meta.namespace, meta.name, training.artifacts.uid)]
    if effect.publishes:
        at = (training.status.run, training.status.attempt)
        export = layout.export_prefix(layout.attempt_prefix(meta.namespace, meta.name, training.artifacts.uid, *at))
        prefixes = [export, layout.model_prefix(effect.publishes)]
    credentials = await stores.scoped_credentials(store, prefixes, settings.credentials_seconds)
    expires = datetime.fromtimestamp(credentials.expires or 0, UTC)
    return storage_secret(training, store.location, credentials, effect.publishes), expires


async def prune(store: ObjectStore, effect: PruneCheckpoints) -> None:
    """Delete what the fence allows to delete.

    Raises:
        StorageError: the store cannot be used now.
    """
    await ask(store, _prune, store, effect)


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


async def clean(store: ObjectStore, effect: CleanAttempts) -> bool:
    """Delete for a while what nothing needs; whether that was all.

    Raises:
        StorageError: the store cannot be used now.
    """
    return await ask(store, _clean, store, effect)


async def delete_artifacts(store: ObjectStore, effect: DeleteArtifacts) -> None:
    """Delete for a while; the next look sees whether something remains.

    Raises:
        StorageError: the store cannot be used now.
    """
    await ask(store, _delete_below, store, effect.prefix)


def _delete_below(store: ObjectStore, prefix: str) -> None:
    _delete(store, [found.key for found in store.list(prefix)])


def _clean(store: ObjectStore, effect: CleanAttempts) -> bool:
    keys = [found.key for found in store.list(effect.prefix)]
    heads_of = fence.read_heads(store, keys)
    whole = fence.committed(key for key in keys if fence.counts(key, heads_of))
    kept = (effect.report, *(checkpoint.prefix for checkpoint in whole[: effect.keep]))

    def stays(key: str) -> bool:
        told = key.endswith((f"/{layout.HEAD}", f"/{layout.MANIFEST}")) and "/step-" not in key
        return told or key.startswith(kept)

    return _delete(store, [key for key in keys if not stays(key)])


def _delete(store: ObjectStore, keys: list[str]) -> bool:
    """Delete for at most DELETE_SECONDS, manifests first; whether all are gone."""
    end = time.monotonic() + DELETE_SECONDS
    for key in sorted(keys, key=lambda key: (not key.endswith(f"/{layout.MANIFEST}"), key)):
        if time.monotonic() > end:
            return False
        store.delete(key)
    return True


def _prune(store: ObjectStore, effect: PruneCheckpoints) -> None:
    keys = [found.key for found in store.list(effect.prefix)]
    protected = [effect.protected] if effect.protected else []
    end = time.monotonic() + DELETE_SECONDS
    for key in fence.to_prune(keys, effect.keep, protected, fence.read_heads(store, keys)):
        if time.monotonic() > end:
            return  # the rest goes with the next checkpoint
        store.delete(key)
