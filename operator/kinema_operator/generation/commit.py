"""Verifies the files of the delivered attempt and copies them to their final keys.

Servers are not trusted, so every file is hashed here. A copy requires the ETag of the version that was hashed, so a
late write of a server has no effect. A presigned PUT limits neither size nor content type, and a browser could open
such a file as a web page of the store: both are checked here, and a copy gets the content type of its file name. All
calls block.
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
"""Most objects that are listed at a time."""


class ReportedFile(Protocol):
    """A file as described by a server or a delivery."""

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
    """The state of an attempt's files: committed, still to be copied, or broken.

    Raises:
        StorageError: the store cannot be used now.
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
    """New presigned URLs of the committed files. Sends no request."""
    final = layout.generation_prefix(namespace, uid)
    life = timedelta(seconds=public_seconds)
    return tuple(
        SignedAddress(store.uri(final + name), store.presign_get(final + name, life, public=True), now + life)
        for name in (layout.VIDEO, layout.THUMBNAIL, layout.SPRITESHEET)
    )


def leftovers(store: ObjectStore, namespace: str, uid: str, clip_stays: bool) -> tuple[str, ...]:
    """Keys of an ended request that are not needed: all but the clip, or all if it is not kept.

    Raises:
        StorageError: the store cannot be used now.
    """
    prefix = layout.generation_prefix(namespace, uid)
    found = (stat.key for stat in islice(store.list(prefix), MAX_LEFTOVERS))
    return tuple(key for key in found if not clip_stays or "/" in key.removeprefix(prefix))


class _NotWhatWasOrdered(Exception):
    """An uploaded file can never be committed."""


def _is(store: ObjectStore, key: str, file: ReportedFile) -> bool:
    """Whether the object is the reported file, by size and digest."""
    found = store.stat(key)
    if found is None or found.bytes != file.bytes or found.bytes > MAX_ARTEFACT_BYTES:
        return False
    try:
        return store.sha256(key) == (file.sha256, file.bytes)
    except ObjectMissing:
        return False


def _verified(store: ObjectStore, key: str, file: ReportedFile) -> tuple[str, str]:
    """ETag of the object, verified to be the reported file, and the content type of its copy.

    Raises:
        _NotWhatWasOrdered: it is another file, missing, or not a file of a clip.
    """
    # Read the ETag before hashing: if the object changes meanwhile, a copy with this ETag is refused.
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
            "check the server's image, which does not follow its order"
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
