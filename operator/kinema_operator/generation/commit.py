"""Moves the files of the one chosen attempt to their final places, and tells whether they are there.

Every file is hashed where it lies: what a server says about its own files is a claim. A copy is made on condition
that its source is still the version that was hashed, so a server that wakes up late and writes again spoils nothing.
All calls block.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Protocol

from kinema_api import layout
from kinema_api.errors import ObjectMissing
from kinema_api.objectstore import ObjectStore
from kinema_api.wire import MAX_ARTEFACT_BYTES
from kinema_operator.generation import record
from kinema_operator.generation.observed import CommittedFile, Copy, Inspection, SignedAddress

MAX_LEFTOVERS: Final = 1000
"""How many objects are looked through at a time."""


class ReportedFile(Protocol):
    """A file as a server, or a delivery, describes it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def sha256(self) -> str:
        """Digest of the bytes, in hexadecimal."""

    @property
    def bytes(self) -> int:
        """Length."""


def inspect(
    store: ObjectStore,
    namespace: str,
    uid: str,
    attempt: int,
    files: Sequence[ReportedFile],
    public_seconds: int,
    now: datetime,
) -> Inspection:
    """What became of an attempt's files: committed, still to be copied, or broken.

    Raises:
        StorageError: the store cannot be asked.
    """
    final = layout.generation_prefix(namespace, uid)
    source = layout.generation_attempt_prefix(namespace, uid, attempt)
    copies = []
    for file in files:
        if _is(store, final + file.name, file):
            continue
        etag = _verified_etag(store, source + file.name, file)
        if etag is None:
            uri = store.uri(source + file.name)
            return Inspection(broken=f"{uri} is missing or is not what the server said it had uploaded")
        copies.append(Copy(source + file.name, final + file.name, etag))
    if copies:
        return Inspection(copies=tuple(copies))
    expires = now + timedelta(seconds=public_seconds)
    return Inspection(
        committed=tuple(_committed(store, final, file, expires, now) for file in files),
        recorded=record.exists(store, namespace, uid),
    )


def sign_again(
    store: ObjectStore, namespace: str, uid: str, public_seconds: int, now: datetime
) -> tuple[SignedAddress, ...]:
    """New addresses of what people open. Signing asks nothing of the store."""
    final = layout.generation_prefix(namespace, uid)
    life = timedelta(seconds=public_seconds)
    return tuple(
        SignedAddress(store.uri(final + name), store.presign_get(final + name, life, public=True), now + life)
        for name in (layout.VIDEO, layout.THUMBNAIL, layout.SPRITESHEET)
    )


def leftovers(store: ObjectStore, namespace: str, uid: str, clip_stays: bool) -> tuple[str, ...]:
    """Keys of what nobody needs of a request that has ended: all but the clip, or, without it, all.

    Raises:
        StorageError: the store cannot be asked.
    """
    prefix = layout.generation_prefix(namespace, uid)
    found = (stat.key for stat in islice(store.list(prefix), MAX_LEFTOVERS))
    return tuple(key for key in found if not clip_stays or "/" in key.removeprefix(prefix))


def _is(store: ObjectStore, key: str, file: ReportedFile) -> bool:
    """Whether the object is, byte for byte, the file that was reported."""
    found = store.stat(key)
    if found is None or found.bytes != file.bytes or found.bytes > MAX_ARTEFACT_BYTES:
        return False
    try:
        return store.sha256(key) == (file.sha256, file.bytes)
    except ObjectMissing:
        return False


def _verified_etag(store: ObjectStore, key: str, file: ReportedFile) -> str | None:
    """The version of the object that is the file that was reported, or None if it is another one or missing."""
    # Asked before the bytes are hashed: if they change in between, a copy of this version is refused.
    found = store.stat(key)
    return found.etag if found is not None and _is(store, key, file) else None


def _committed(store: ObjectStore, final: str, file: ReportedFile, expires: datetime, now: datetime) -> CommittedFile:
    key = final + file.name
    return CommittedFile(
        name=file.name,
        uri=store.uri(key),
        url=store.presign_get(key, expires - now, public=True),
        url_expires=expires,
        sha256=file.sha256,
        bytes=file.bytes,
    )
