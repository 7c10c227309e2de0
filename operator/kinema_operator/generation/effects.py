"""Carries out what a plan decided outside the API server: orders to servers, copies in the store. All idempotent."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from kinema_api.generation import VideoGeneration
from kinema_api.serving import VideoModel
from kinema_operator.controller import Cache
from kinema_operator.generation.inputs import Inputs
from kinema_operator.generation.observed import Commit, Refusal, SendOrder
from kinema_operator.generation.server_client import ServerClient
from kinema_operator.generation.stores import clip_store, model_store
from kinema_operator.generation.work_order import lifetime, read_model, work_order
from kinema_operator.serving.observe import Stores
from kinema_operator.settings import Settings


async def send_order(
    generation: VideoGeneration,
    model: VideoModel | None,
    order: SendOrder,
    stores: Stores,
    client: ServerClient,
    settings: Settings,
    cache: Cache,
) -> Refusal | None:
    """Give an attempt to its server; None if it was taken, or if the next look must tell.

    Raises:
        StorageError: the model cannot be read now.
        BrokenManifest: the model is not what its digest says.
        InputUnusable: an input has gone since it was looked for.
    """
    if order.server.address is None:
        return None
    namespace = generation.metadata.namespace
    models = await stores.for_object(namespace, model_store(model))
    clips = await stores.for_object(namespace, clip_store(generation, model))
    manifest = await asyncio.to_thread(read_model, models, order.digest)
    inputs = await Inputs(generation, clip_store(generation, model), cache, stores).find()
    expires = lifetime(generation, settings.presign_seconds, datetime.now(UTC))
    sent = work_order(generation, order, manifest, models, clips, expires, inputs)
    return await client.send(order.server.address, sent)


async def copy_files(generation: VideoGeneration, model: VideoModel | None, commit: Commit, stores: Stores) -> None:
    """Copy what was verified to its final place.

    Raises:
        StorageError: a source changed since it was verified, or the store cannot be used.
    """
    store = await stores.for_object(generation.metadata.namespace, clip_store(generation, model))
    for copy in commit.copies:
        await asyncio.to_thread(store.copy, copy.source, copy.target, copy.etag)
