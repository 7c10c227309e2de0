"""Finds the inputs of a request: clips of other requests, and objects.

The operator's keys give access to the artefacts of every namespace, so it must not presign URLs of another namespace's
objects: in the operator's store a request may only name keys below the prefixes of its own namespace.
"""

from __future__ import annotations

from dataclasses import dataclass

from kinema_api import layout
from kinema_api.base import ArtifactStore
from kinema_api.errors import InvalidManifest, StorageError
from kinema_api.generation import KIND, PinnedInput, VideoGeneration, VideoGenerationSpec
from kinema_api.inputs import MAX_INPUT_BYTES, ClipInput, Upload
from kinema_api.objectstore import ObjectStore
from kinema_operator.core.controller import Cache
from kinema_operator.core.errors import OperatorError
from kinema_operator.generation.found_input import FoundInput, InputName
from kinema_operator.generation.observed import Problem
from kinema_operator.generation.stores import clip_store, find_model
from kinema_operator.shell.storage import StoreSource
from kinema_operator.shell.store_limits import ask


class InputUnusable(OperatorError):
    """An input of a request is not available now, or never will be; `problem` is for its status."""

    def __init__(self, reason: str, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.problem = Problem(reason, message, fatal=fatal)


def uploads_of(spec: VideoGenerationSpec) -> dict[str, Upload]:
    """Uploads for a request, by field of the spec."""
    inputs = {"input": spec.input, "end": spec.end, "mask": spec.mask}
    return {name: one.upload for name, one in inputs.items() if one is not None and one.upload is not None}


@dataclass(frozen=True)
class Inputs:
    """Finds the inputs of one request in the cache and in `store`, the store of its clip."""

    generation: VideoGeneration
    artifact_store: ArtifactStore | None
    cache: Cache
    stores: StoreSource

    async def find(self) -> tuple[FoundInput, ...]:
        """All inputs.

        Raises:
            InputUnusable: an input is not available now, or never will be.
            StorageError: the store cannot be used now.
        """
        return tuple([await self._find(name, source) for name, source in self._wanted()])

    def _wanted(self) -> list[tuple[InputName, ClipInput]]:
        spec = self.generation.spec
        drawn = spec.mask and not spec.mask.region
        mask = ClipInput(uri=spec.mask.uri, upload=spec.mask.upload) if spec.mask and drawn else None
        wanted: tuple[tuple[InputName, ClipInput | None], ...] = (
            ("input", spec.input),
            ("end", spec.end),
            ("mask", mask),
        )
        return [(name, source) for name, source in wanted if source is not None]

    async def _find(self, name: InputName, source: ClipInput) -> FoundInput:
        if source.generation is not None:
            return await self._clip_of(name, source.generation)
        if source.upload is not None:
            return await self._uploaded(name, source.upload)
        return await self._object_of(name, source.uri or "")

    async def _clip_of(self, name: InputName, other_name: str) -> FoundInput:
        other = self._generation(name, other_name)
        video = other.status.video
        if other.status.phase in ("Failed", "Cancelled"):
            raise InputUnusable(
                "InputFailed",
                f"{name}: VideoGeneration {other_name!r} {other.status.phase.lower()}, so it has no clip; "
                "create another VideoGeneration that names one that succeeded",
                fatal=True,
            )
        if video is None:
            raise InputUnusable("InputNotReady", f"{name}: VideoGeneration {other_name!r} has not succeeded yet")
        store = await self._store(clip_store(other, find_model(other, self.cache)))
        key = layout.generation_prefix(other.metadata.namespace, other.metadata.uid) + layout.VIDEO
        return await self._stored(name, store, key, video.sha256)

    def _generation(self, name: InputName, other_name: str) -> VideoGeneration:
        found = self.cache.get(KIND, self.generation.metadata.namespace, other_name)
        if found is None:
            raise InputUnusable(
                "InputNotFound", f"{name}: VideoGeneration {other_name!r} does not exist; create it or correct the name"
            )
        try:
            return VideoGeneration.parse(found)
        except InvalidManifest as error:
            raise InputUnusable("InputFailed", f"{name}: VideoGeneration {other_name!r}: {error}", fatal=True) from None

    async def _uploaded(self, name: InputName, upload: Upload) -> FoundInput:
        metadata = self.generation.metadata
        store = await self._store(self.artifact_store)
        key = layout.generation_uploads_prefix(metadata.namespace, metadata.uid) + name
        found = await ask(store, store.stat, key)
        if found is None or found.bytes != upload.bytes:
            raise InputUnusable(
                "InputNotReady",
                f"{name} has not been uploaded yet; upload it with `kinema generate`, or cancel this request",
            )
        return FoundInput(name, store, key, found.bytes, upload.sha256, found.etag)

    async def _object_of(self, name: InputName, uri: str) -> FoundInput:
        store = await self._store(self.artifact_store)
        bucket = f"s3://{store.location.bucket}/"
        if not uri.startswith(bucket):
            raise InputUnusable(
                "InputElsewhere", f"{name}: {uri} is not in {bucket}; copy it there and correct the uri", fatal=True
            )
        key = uri.removeprefix(bucket)
        if self.artifact_store is None:
            self._check_scope(name, uri, key)
        return await self._stored(name, store, key, None)

    async def _store(self, artifact_store: ArtifactStore | None) -> ObjectStore:
        return await self.stores.for_object(self.generation.metadata.namespace, artifact_store)

    async def _stored(self, name: InputName, store: ObjectStore, key: str, sha256: str | None) -> FoundInput:
        found = await ask(store, store.stat, key)
        if found is None:
            raise InputUnusable(
                "InputNotFound", f"{name}: {store.uri(key)} does not exist; upload it or correct the uri"
            )
        if found.bytes > MAX_INPUT_BYTES:
            raise InputUnusable(
                "InputTooLarge",
                f"{name}: {store.uri(key)} has {found.bytes} bytes and at most {MAX_INPUT_BYTES} are taken; shorten it",
                fatal=True,
            )
        return FoundInput(name, store, key, found.bytes, sha256, found.etag)

    async def pinned(self, clips: ObjectStore) -> tuple[PinnedInput, ...]:
        """All inputs as recorded in the status; inputs that are copied already are not looked up again.

        Raises:
            InputUnusable: an input is not available now, or never will be.
            StorageError: the store cannot be used now.
        """
        known = {pinned.name: pinned for pinned in self.generation.status.inputs}
        found = []
        for name, source in self._wanted():
            copied = name in known and await ask(clips, clips.stat, self._copy_of(name)) is not None
            found.append(known[name] if copied else (await self._find(name, source)).pinned())
        return tuple(found)

    def _copy_of(self, name: InputName) -> str:
        metadata = self.generation.metadata
        return layout.generation_inputs_prefix(metadata.namespace, metadata.uid) + name

    async def taken(self, clips: ObjectStore) -> tuple[FoundInput, ...]:
        """All inputs as copies in the request's folder, so that all attempts use the same version.

        The store copies the version that was current when the request was accepted, and the copy is hashed before use.
        An input in another store is not copied: it is the clip of another request, whose digest is known.

        Raises:
            InputUnusable: an input is not available now, or never will be.
            StorageError: the store cannot be used now.
        """
        return tuple([await self._taken(name, source, clips) for name, source in self._wanted()])

    async def _taken(self, name: InputName, source: ClipInput, clips: ObjectStore) -> FoundInput:
        copy = self._copy_of(name)
        known = await ask(clips, clips.stat, copy)
        if known is None:
            found = await self._find(name, source)
            if found.store is not clips:
                return found
            await self._copy(found, copy)
        sha256, length = await ask(clips, clips.sha256, copy)
        return FoundInput(name, clips, copy, length, sha256)

    async def _copy(self, found: FoundInput, target: str) -> None:
        pinned = next((p for p in self.generation.status.inputs if p.name == found.name), found.pinned())
        uri = found.store.uri(found.key)
        changed = InputUnusable(
            "InputChanged",
            f"{found.name}: {uri} has changed since the request was accepted; create another VideoGeneration",
            fatal=True,
        )
        if pinned.etag != found.etag:
            raise changed
        try:
            await ask(found.store, found.store.copy, found.key, target, pinned.etag)
        except StorageError:
            now = await ask(found.store, found.store.stat, found.key)
            if now is not None and now.etag != pinned.etag:
                raise changed from None
            raise
        if found.sha256 is not None and (await ask(found.store, found.store.sha256, target))[0] != found.sha256:
            await ask(found.store, found.store.delete, target)
            raise changed

    def _check_scope(self, name: InputName, uri: str, key: str) -> None:
        namespace = self.generation.metadata.namespace
        own = (layout.inputs_prefix(namespace), layout.generations_prefix(namespace))
        if not key.startswith(own):
            raise InputUnusable(
                "InputNotYours",
                f"{name}: {uri} does not belong to this namespace; upload it below {own[0]} in the bucket and correct "
                "the uri",
                fatal=True,
            )
