"""Folders of open weights, resolved to the digest of their manifest, and the card that lies beside their files."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from kinema_api import layout
from kinema_api.card import CARD, MAX_CARD_BYTES, ModelCard
from kinema_api.errors import BrokenManifest, InvalidManifest, ObjectMissing, ObjectTooLarge, StorageError
from kinema_api.manifest import MAX_MANIFEST_BYTES, Manifest
from kinema_api.objectstore import ObjectStore
from kinema_api.serving import VideoModel
from kinema_api.wire import MAX_ORDERED_FILES
from kinema_operator.core.stores import folder_prefix, storage_reason
from kinema_operator.serving.observed import Source
from kinema_operator.shell.storage import StoreSource
from kinema_operator.shell.store_limits import ask

log = logging.getLogger(__name__)

FRESH_SECONDS: Final = 5.0
"""A folder is not looked at again within this time."""
MAX_FOLDER_BYTES: Final = 1 << 40
"""Largest folder that is served: servers take as much room on their nodes' disks."""
MAX_KNOWN: Final = 1024
"""Most folders that are remembered; the one that was resolved first goes first."""


@dataclass(frozen=True)
class _Known:
    etag: str
    source: Source
    at: float
    """Seconds of the monotonic clock."""


class Folders:
    """Resolves folders, and reads a manifest again only when it was written again."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, str], _Known] = OrderedDict()

    async def source(self, model: VideoModel, uri: str, stores: StoreSource) -> Source:
        """The model in the folder that a spec names; without a digest, the reason says why there is none."""
        namespace, named = model.metadata.namespace, model.spec.artifact_store
        try:
            store = await stores.checked(namespace, named)
            prefix = folder_prefix(uri, namespace, store.location.bucket, named)
            return await self._looked_up(store, namespace, uri, prefix)
        except ObjectMissing:
            return _unpublished(uri)
        except BrokenManifest as error:
            return Source(reason="BrokenModel", message=str(error))
        except StorageError as error:
            return Source(reason=storage_reason(error), message=str(error))

    async def _looked_up(self, store: ObjectStore, namespace: str, uri: str, prefix: str) -> Source:
        place = (namespace, store.location.endpoint, uri)
        known, now = self._known.get(place), time.monotonic()
        if known is not None and now - known.at < FRESH_SECONDS:
            return known.source
        found = await ask(store, store.stat, prefix + layout.MANIFEST)
        if found is None:
            self._known.pop(place, None)
            return _unpublished(uri)
        source = (
            known.source if known and known.etag == found.etag else await ask(store, read_folder, store, uri, prefix)
        )
        self._known[place] = _Known(found.etag, source, now)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return source


def _unpublished(uri: str) -> Source:
    said = f"{uri} has no {layout.MANIFEST}: run `kinema upload FOLDER {uri}`, which writes it last, or correct the uri"
    return Source(reason="FolderNotFound", message=said)


def read_folder(store: ObjectStore, uri: str, prefix: str) -> Source:
    """The model in a folder, by its manifest. Blocks.

    Raises:
        ObjectMissing: there is no manifest.
        BrokenManifest: it is no manifest of a model, or no server takes as many files.
        StorageError: the store cannot be used now.
    """
    try:
        data = store.get(prefix + layout.MANIFEST, MAX_MANIFEST_BYTES)
    except ObjectTooLarge as error:
        raise BrokenManifest(str(error)) from None
    where, again = f"{uri}{layout.MANIFEST}", "write it again with `kinema upload`"
    manifest = Manifest.from_bytes(data, where)
    if manifest.kind != "model":
        raise BrokenManifest(f"{where} is the manifest of a {manifest.kind}; {again}")
    if data != manifest.to_bytes():
        # Servers compare the digest with the bytes that they read.
        raise BrokenManifest(f"{where} is not canonical JSON; {again}")
    if len(manifest.files) > MAX_ORDERED_FILES:
        raise BrokenManifest(f"{where} names more than {MAX_ORDERED_FILES} files; use larger shards")
    size = sum(file.bytes for file in manifest.files)
    if size > MAX_FOLDER_BYTES:
        raise BrokenManifest(f"{where} names files of more than {MAX_FOLDER_BYTES >> 30} GiB; use smaller weights")
    return Source(manifest.digest(), uri, card=_card(store, prefix, manifest), bytes=size)


def _card(store: ObjectStore, prefix: str, manifest: Manifest) -> ModelCard | None:
    """The card among the files of a manifest; a card that is not as promised is left out."""
    promised = next((file for file in manifest.files if file.name == CARD), None)
    if promised is None or promised.bytes > MAX_CARD_BYTES:
        return None
    try:
        data = store.get(prefix + CARD, MAX_CARD_BYTES)
        if hashlib.sha256(data).hexdigest() != promised.sha256:
            return None
        return ModelCard.model_validate_json(data)
    except (ObjectMissing, ObjectTooLarge, InvalidManifest, ValueError) as error:
        log.warning("%s of %s is left out of the status (%s)", CARD, manifest.digest(), type(error).__name__)
        return None
