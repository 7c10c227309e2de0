"""Carries out the effects of a training in the object store. Every one is idempotent."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import Final

from kinema_api import head as heads
from kinema_api import layout
from kinema_api.objectstore import ObjectStore
from kinema_api.training import VideoModelTraining
from kinema_operator.core.settings import Settings
from kinema_operator.shell.storage import Stores
from kinema_operator.shell.store_limits import ask
from kinema_operator.training import fence
from kinema_operator.training.effects import (
    CleanAttempts,
    CloseAttempt,
    DeleteArtifacts,
    IssueCredentials,
    PruneCheckpoints,
)
from kinema_operator.training.objects.secret import Holder, scope_for, storage_secret

DELETE_SECONDS: Final = 15.0
"""Time limit of one deletion: it delays the training's next reconcile, and so the renewal of credentials."""


async def close_attempt(store: ObjectStore, effect: CloseAttempt, settings: Settings) -> None:
    """Close the attempt's head.

    Raises:
        StorageError: the store cannot be used now.
    """
    await ask(store, partial(heads.close, store, effect.prefix, weak=settings.allow_weak_fence))


async def credentials_secret(
    training: VideoModelTraining, effect: IssueCredentials, stores: Stores, settings: Settings
) -> tuple[dict[str, object], datetime]:
    """A Secret with new credentials, scoped to what the effect names, and their expiry.

    Raises:
        StorageError: the store issues none.
    """
    namespace, holder = training.metadata.namespace, Holder(effect.publishes, effect.prepares)
    store = await stores.for_object(namespace, training.spec.artifact_store)
    endpoint = training.spec.data.captioner if effect.prepares else None
    key = await stores.api_key(namespace, endpoint.secret_ref.name) if endpoint and endpoint.secret_ref else ""
    credentials = await stores.scoped_credentials(store, scope_for(training, holder), settings.credentials_seconds)
    expires = datetime.fromtimestamp(credentials.expires or 0, UTC)
    return storage_secret(training, store.location, credentials, holder, key), expires


async def prune(store: ObjectStore, effect: PruneCheckpoints) -> None:
    """Delete the old checkpoints that the fence allows to delete.

    Raises:
        StorageError: the store cannot be used now.
    """
    await ask(store, _prune, store, effect)


async def clean(store: ObjectStore, effect: CleanAttempts) -> bool:
    """Delete files that are not needed, for at most DELETE_SECONDS; returns whether all are gone.

    Raises:
        StorageError: the store cannot be used now.
    """
    return await ask(store, _clean, store, effect)


async def delete_artifacts(store: ObjectStore, effect: DeleteArtifacts) -> None:
    """Delete a training's files, for at most DELETE_SECONDS; the next observation finds what remains.

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

    prepared = (effect.prefix + layout.PREPARED, effect.prefix + layout.PREPARED_PAGE)

    def stays(key: str) -> bool:
        if key in prepared:
            return True
        is_manifest = key.endswith((f"/{layout.HEAD}", f"/{layout.MANIFEST}")) and "/step-" not in key
        return is_manifest or key.startswith(kept)

    return _delete(store, [key for key in keys if not stays(key)])


def _delete(store: ObjectStore, keys: list[str]) -> bool:
    """Delete for at most DELETE_SECONDS, manifests first; returns whether all are gone."""
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
