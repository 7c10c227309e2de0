"""Carries out the effects of a generation: orders to servers, copies in the store. All are idempotent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from kinema_api import layout
from kinema_api.errors import BrokenManifest, ObjectMissing, StorageError
from kinema_api.generation import VideoGeneration
from kinema_api.serving import VideoModel
from kinema_api.wire import WorkOrder
from kinema_operator.core.controller import Cache
from kinema_operator.core.settings import Settings
from kinema_operator.core.stores import storage_reason
from kinema_operator.generation import record
from kinema_operator.generation.effects import Commit, SendOrder
from kinema_operator.generation.inputs import Inputs, InputUnusable
from kinema_operator.generation.observed import OrderRefusal, Problem
from kinema_operator.generation.server_client import ServerClient
from kinema_operator.generation.stores import clip_store, weights_prefix, weights_store
from kinema_operator.generation.work_order import broken_reason, lifetime, read_model, work_order
from kinema_operator.shell.storage import StoreSource
from kinema_operator.shell.store_limits import ask


async def send_order(
    generation: VideoGeneration,
    model: VideoModel | None,
    order: SendOrder,
    stores: StoreSource,
    client: ServerClient,
    settings: Settings,
    cache: Cache,
) -> OrderRefusal | None:
    """Send an attempt to its server; None if it was accepted, or if the result is unknown until the next observation.

    An input that was deleted meanwhile is a refusal too: the request releases its server.
    """
    if order.server.address is None:
        return None
    try:
        sent = await _order(generation, model, order, stores, settings, cache)
    except InputUnusable as error:
        return OrderRefusal("unsent", str(error), error.problem)
    except BrokenManifest as error:
        return OrderRefusal("unsent", str(error), Problem(broken_reason(error), str(error), fatal=True))
    except ObjectMissing as error:
        return OrderRefusal("unsent", str(error), Problem("ModelMissing", str(error)))
    except StorageError as error:
        return OrderRefusal("unsent", str(error), Problem(storage_reason(error), str(error)))
    return await client.send(order.server.address, sent, order.server.uid)


async def _order(
    generation: VideoGeneration,
    model: VideoModel | None,
    order: SendOrder,
    stores: StoreSource,
    settings: Settings,
    cache: Cache,
) -> WorkOrder:
    namespace = generation.metadata.namespace
    models = await stores.for_object(namespace, weights_store(generation, model))
    clips = await stores.for_object(namespace, clip_store(generation, model))
    weights = weights_prefix(generation, model, models, order.digest)
    manifest = await ask(models, read_model, models, order.digest, weights)
    inputs = await Inputs(generation, clip_store(generation, model), cache, stores).taken(clips)
    expires = lifetime(generation, settings.presign_seconds, datetime.now(UTC))
    return work_order(generation, order, manifest, models, weights, clips, expires, inputs)


async def copy_files(
    generation: VideoGeneration, model: VideoModel | None, commit: Commit, stores: StoreSource
) -> Problem | None:
    """Copy verified files to their final keys; returns why that failed, or None.

    A source that has changed since it was verified is not copied: the next observation verifies it again.
    """
    try:
        store = await stores.for_object(generation.metadata.namespace, clip_store(generation, model))
        for copy in commit.copies:
            await ask(store, store.copy, copy.source, copy.target, copy.etag, copy.content_type)
    except StorageError as error:
        return Problem(storage_reason(error), str(error))
    return None


async def write_record(generation: VideoGeneration, model: VideoModel | None, stores: StoreSource) -> Problem | None:
    """Write commit.json beside the clip; returns why that failed, or None."""
    made = record.record_of(generation.status, datetime.now(UTC).replace(microsecond=0))
    if made is None:
        return None
    metadata = generation.metadata
    try:
        store = await stores.for_object(metadata.namespace, clip_store(generation, model))
        await ask(store, record.write, store, metadata.namespace, metadata.uid, made)
    except StorageError as error:
        return Problem(storage_reason(error), str(error))
    return None


async def delete_keys(
    generation: VideoGeneration, model: VideoModel | None, keys: Sequence[str], stores: StoreSource
) -> Problem | None:
    """Delete objects of a request's folder; returns why that failed, or None."""
    metadata = generation.metadata
    own = layout.generation_prefix(metadata.namespace, metadata.uid)
    try:
        store = await stores.for_object(metadata.namespace, clip_store(generation, model))
        for key in keys:
            if key.startswith(own):
                await ask(store, store.delete, key)
    except StorageError as error:
        return Problem(storage_reason(error), str(error))
    return None
