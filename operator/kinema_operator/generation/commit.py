"""Moves the files of the one chosen attempt to their final places, and tells whether they are there.

Every file is hashed where it lies: what a server says about its own files is a claim. A copy is made on condition
that its source is still the version that was hashed, so a server that wakes up late and writes again spoils nothing.
A signed address lets a server upload any number of bytes and call them a web page, which people would then open under
the store's name: sizes and content types are checked here, and a copy has the content type of its name and nothing else
of what its source says of itself.
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
        try:
            etag, content_type = _verified(store, source + file.name, file)
        except _NotWhatWasOrdered as error:
            return Inspection(broken=str(error))
        copies.append(Copy(source + file.name, final + file.name, etag, content_type))
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


class _NotWhatWasOrdered(Exception):
    """Why a file that a server has uploaded is never committed."""


def _is(store: ObjectStore, key: str, file: ReportedFile) -> bool:
    """Whether the object is, byte for byte, the file that was reported."""
    found = store.stat(key)
    if found is None or found.bytes != file.bytes or found.bytes > MAX_ARTEFACT_BYTES:
        return False
    try:
        return store.sha256(key) == (file.sha256, file.bytes)
    except ObjectMissing:
        return False


def _verified(store: ObjectStore, key: str, file: ReportedFile) -> tuple[str, str]:
    """ETag of the object that is the file that was reported, and the content type of its copy.

    Raises:
        _NotWhatWasOrdered: it is another one, or missing, or no file of a clip.
    """
    # Asked before the bytes are hashed: if they change in between, a copy of this version is refused.
    found, ordered, uri = store.stat(key), layout.ARTEFACTS.get(file.name), store.uri(key)
    if ordered is None:
        raise _NotWhatWasOrdered(f"{uri} is not a file of a clip; the operator starts another attempt")
    if found is not None and found.bytes > ordered.max_bytes:
        raise _NotWhatWasOrdered(
            f"{uri} has {found.bytes} bytes, more than the {ordered.max_bytes} allowed for {file.name}"
        )
    said = found.content_type if found is not None else None
    if said is not None and said.partition(";")[0].strip().lower() != ordered.content_type:
        raise _NotWhatWasOrdered(
            f"{uri} was uploaded as {said[:64]!r} and must be {ordered.content_type}: "
            "look at the server's image, it does not do what it was ordered"
        )
    if found is None or not _is(store, key, file):
        raise _NotWhatWasOrdered(f"{uri} is missing or is not what the server said it had uploaded")
    return found.etag, ordered.content_type


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
