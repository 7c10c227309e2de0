"""head.json of an attempt: which rendezvous and round may commit there, and what is committed.

Only conditional writes (`ObjectStore.put_if`) change it, so of two groups that both train the attempt only one commits.
A checkpoint that the head does not name does not exist. Each change increments `counter`, so no two versions have the
same ETag, and a writer that lost the response to a write can find out by reading whether it was done.

An attempt that trainers of an older version began has no head: there every checkpoint with a manifest is committed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Final, Self

from pydantic import Field, ValidationError

from kinema_api import layout
from kinema_api.base import ApiModel
from kinema_api.errors import BrokenManifest, ObjectMissing, ObjectTooLarge, StaleWrite, StoreLacksConditionalWrites
from kinema_api.objectstore import ObjectStore

JSON: Final = "application/json"
MAX_CHECKPOINTS: Final = 1024
"""Most checkpoints in a head; the oldest are dropped. More than `checkpoint.keep` can be."""
MAX_FORMER: Final = 256
"""Rendezvous services that a head remembers as superseded."""
MAX_BYTES: Final = 256 << 10
"""Longest head that is read."""

Token = Annotated[str, Field(max_length=64)]
CheckpointFolder = Annotated[str, Field(pattern=r"^step-\d{8}/round-\d{4,12}/$")]
ExportFolder = Annotated[str, Field(pattern=r"^export/(round-\d{4,12}/)?$")]


class Head(ApiModel):
    """The state of an attempt. Folders are relative to the attempt's."""

    counter: Annotated[int, Field(ge=0)] = 0
    """Changes so far."""
    epoch: Annotated[int, Field(ge=0)] = 0
    """Rendezvous services that have claimed this attempt so far."""
    service: Token = ""
    """Token of the rendezvous service that holds the claim."""
    generation: Annotated[int, Field(ge=0)] = 0
    """Generation of that service: a service of a lower generation cannot claim after it."""
    former: Annotated[tuple[Token, ...], Field(max_length=MAX_FORMER)] = ()
    """Tokens of services that have lost the claim, newest first: none of them claims again."""
    round: Annotated[int, Field(ge=0)] = 0
    """The only round that may commit."""
    token: Token = ""
    """Token of that round."""
    checkpoints: Annotated[tuple[CheckpointFolder, ...], Field(max_length=MAX_CHECKPOINTS)] = ()
    """Committed checkpoints, newest first. Old ones may have been deleted meanwhile."""
    export: ExportFolder | None = None
    """Folder of the finished model: the run is done."""
    closed: bool = False
    """The attempt is over: nothing is committed any more."""

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return json.dumps(self.to_wire(), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Self:
        """Read a head; `where` names it in the error.

        Raises:
            BrokenManifest: if it is not a head.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise BrokenManifest(
                f"{where} is not a readable head of an attempt ({reason}); nothing of this attempt is used"
            ) from None


@dataclass(frozen=True)
class VersionedHead:
    """A head, and the ETag with which it was read."""

    head: Head
    etag: str | None
    """None: there is no head yet, and `head` is the initial value."""


def read(store: ObjectStore, attempt: str) -> VersionedHead | None:
    """The head of the attempt with this prefix; None if it has none. Blocks.

    Raises:
        BrokenManifest: the head cannot be read.
        StorageError: the store cannot be used now.
    """
    key = layout.head_key(attempt)
    # The ETag is read first: if the head changes before the get, a write with this ETag is refused.
    found = store.stat(key)
    if found is None:
        return None
    try:
        content = store.get(key, MAX_BYTES)
    except ObjectMissing:
        return None
    except ObjectTooLarge as error:
        raise BrokenManifest(str(error)) from None
    return VersionedHead(Head.from_bytes(content, key), found.etag)


def adopt(store: ObjectStore, attempt: str) -> VersionedHead:
    """The head of an attempt, or an initial one with the checkpoints that have a manifest. Blocks.

    Raises:
        BrokenManifest: the head cannot be read.
        StorageError: the store cannot be used now.
    """
    found = read(store, attempt)
    if found:
        return found
    keys = [listed.key for listed in store.list(attempt)]
    # Newest first: only the latest round may write, and within a round the latest step counts.
    at = sorted((place[1], place[0], key) for key in keys if (place := layout.parse_checkpoint_manifest(key)))
    folders = tuple(key.removeprefix(attempt).removesuffix(layout.MANIFEST) for *_, key in reversed(at))
    exported = layout.EXPORT_FOLDER if layout.export_prefix(attempt) + layout.MANIFEST in keys else None
    newest = at[-1][0] if at else 0
    return VersionedHead(Head(round=newest, checkpoints=folders[:MAX_CHECKPOINTS], export=exported), None)


def named(attempt: str, head: Head | None, keys: Iterable[str]) -> list[str]:
    """Manifests of committed checkpoints among `keys` of an attempt; without a head, all manifests."""
    manifests = [key for key in keys if key.startswith(attempt) and layout.parse_checkpoint_manifest(key)]
    if head is None:
        return manifests
    committed = {attempt + folder + layout.MANIFEST for folder in head.checkpoints}
    return [key for key in manifests if key in committed]


def export_of(store: ObjectStore, attempt: str) -> str | None:
    """Prefix of the committed export of an attempt, or None if there is none. Blocks.

    Raises:
        BrokenManifest: the attempt has a head that cannot be read.
        StorageError: the store cannot be used now.
    """
    found = read(store, attempt)
    if found:
        return attempt + found.head.export if found.head.export else None
    legacy = layout.export_prefix(attempt)
    return legacy if store.stat(legacy + layout.MANIFEST) else None


def write(store: ObjectStore, attempt: str, head: Head, etag: str | None, *, weak: bool = False) -> str:
    """Write a head if it has not changed since it was read; its new ETag. Blocks.

    Args:
        store: where.
        attempt: prefix of the attempt.
        head: its counter is one more than that of the head that was read.
        etag: ETag of the head that was read; None: there was none.
        weak: on a store without conditional writes, compare and then write: a gap in the fence that an administrator
            has allowed.

    Raises:
        StaleWrite: another client has written meanwhile.
        StoreLacksConditionalWrites: the store does not know them.
        StorageError: the store cannot be used now; the head may have been written.
    """
    return put_if(store, layout.head_key(attempt), head.to_bytes(), etag, weak=weak)


def put_if(
    store: ObjectStore, key: str, data: bytes, etag: str | None, content_type: str = JSON, *, weak: bool = False
) -> str:
    """`ObjectStore.put_if`; `weak` as in `write`."""
    if not weak:
        return store.put_if(key, data, etag, content_type)
    found = store.stat(key)
    if (found.etag if found else None) != etag:
        raise StaleWrite(f"{store.uri(key)} was written by another client meanwhile: read it again first")
    try:
        return store.put_if(key, data, etag, content_type)
    except StoreLacksConditionalWrites:
        store.put(key, data, content_type)
        written = store.stat(key)
        if written is None:
            raise StaleWrite(f"{store.uri(key)} was deleted as soon as it was written: read it again first") from None
        return written.etag


def close(store: ObjectStore, attempt: str, *, weak: bool = False) -> Head:
    """Close an attempt: nothing is committed in it after this. Blocks.

    A head that cannot be read is replaced by one that names nothing.

    Raises:
        StorageError: the store cannot be used now.
    """
    while True:
        try:
            seen = adopt(store, attempt)
        except BrokenManifest:
            found = store.stat(layout.head_key(attempt))
            seen = VersionedHead(Head(), found.etag if found else None)
        if seen.head.closed:
            return seen.head
        closed = seen.head.model_copy(update={"closed": True, "counter": seen.head.counter + 1})
        with suppress(StaleWrite):
            write(store, attempt, closed, seen.etag, weak=weak)
            return closed
