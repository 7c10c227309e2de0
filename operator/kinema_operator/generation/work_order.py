"""Creates the work order of one attempt: what to render, and presigned URLs of the files that it needs.

A server has no credentials. The URLs let it read the files of one model and the inputs of one request, and write the
artefacts of one attempt, until the deadline of the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from kinema_api import layout
from kinema_api.errors import BrokenManifest
from kinema_api.generation import VideoGeneration
from kinema_api.manifest import Manifest
from kinema_api.objectstore import ObjectStore
from kinema_api.wire import MAX_ORDERED_FILES, OrderedModel, PresignedFile, UploadTarget, WorkOrder
from kinema_operator.generation.effects import SendOrder
from kinema_operator.generation.found_input import FoundInput
from kinema_operator.generation.observed import ORDERED_FILES

LONGEST_SIGNATURE: Final = timedelta(days=7)
"""AWS Signature Version 4 allows no more."""


class FolderChanged(BrokenManifest):
    """The folder of a request's model has another manifest than when the request was accepted."""


def read_model(store: ObjectStore, digest: str, prefix: str) -> Manifest:
    """The manifest of a model at its prefix, verified against its digest. Blocks.

    Raises:
        ObjectMissing: the model does not exist (any more).
        FolderChanged: the folder holds another model now.
        BrokenManifest: it has another digest, or too many files for an order.
        StorageError: the store cannot be used now.
    """
    key = prefix + layout.MANIFEST
    manifest = Manifest.read(store, key)
    if manifest.digest() != digest and prefix != layout.model_prefix(digest):
        raise FolderChanged(f"{store.uri(key)} is no longer that of {digest}; create another VideoGeneration")
    if manifest.digest() != digest:
        raise BrokenManifest(f"{store.uri(key)} does not match its digest; publish the model again")
    if len(manifest.files) > MAX_ORDERED_FILES:
        raise BrokenManifest(f"{store.uri(key)} names more than {MAX_ORDERED_FILES} files; use larger shards")
    return manifest


def broken_reason(error: BrokenManifest) -> str:
    """The reason of a condition for a model that cannot be ordered."""
    return "FolderChanged" if isinstance(error, FolderChanged) else "BrokenModel"


def lifetime(generation: VideoGeneration, presign_seconds: int, now: datetime) -> timedelta:
    """Lifetime of an order's presigned URLs: until the request's deadline plus `presign_seconds`."""
    created = generation.metadata.creation_timestamp or now
    left = created + timedelta(seconds=generation.spec.deadline_seconds) - now
    return min(LONGEST_SIGNATURE, max(left, timedelta()) + timedelta(seconds=presign_seconds))


def work_order(
    generation: VideoGeneration,
    order: SendOrder,
    manifest: Manifest,
    models: ObjectStore,
    weights: str,
    clips: ObjectStore,
    expires: timedelta,
    inputs: Sequence[FoundInput] = (),
) -> WorkOrder:
    """The order for one attempt; `models` holds the weights below `weights`, and `clips` takes the artefacts."""
    metadata, spec = generation.metadata, generation.spec
    target = layout.generation_attempt_prefix(metadata.namespace, metadata.uid, order.attempt)
    return WorkOrder(
        uid=metadata.uid,
        attempt=order.attempt,
        namespace=metadata.namespace,
        name=metadata.name,
        model=OrderedModel(
            digest=order.digest,
            ca_bundle=models.location.ca_bundle,
            manifest_url=models.presign_get(weights + layout.MANIFEST, expires),
            files=tuple(
                PresignedFile(file=file, url=models.presign_get(weights + file.name, expires))
                for file in manifest.files
            ),
        ),
        **spec.asked() | {"seed": order.seed},
        inputs=tuple(found.ordered(expires) for found in inputs),
        mask_region=spec.mask.region if spec.mask else None,
        uploads=tuple(UploadTarget(name=name, url=clips.presign_put(target + name, expires)) for name in ORDERED_FILES),
        ca_bundle=clips.location.ca_bundle,
    )
