"""head.json of an attempt: which rendezvous and round may commit there, and what is committed.

It is changed by conditional writes alone (`ObjectStore.put_if`), so of two groups that both believe in themselves only
one commits. What it does not name does not exist. Each change counts `counter` up: no two contents are equal, hence no
two ETags, and whoever lost the answer to a write finds out by reading whether it was done.

An attempt that trainers of an older version began has no head: there the manifests are what is committed.
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
"""Names of checkpoints in a head; the oldest give way. More than `checkpoint.keep` may be."""
MAX_FORMER: Final = 256
"""Rendezvous services that a head remembers as superseded."""
MAX_BYTES: Final = 256 << 10
"""A head is never longer; what is longer is none."""

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
    """Token of the one that holds it."""
    generation: Annotated[int, Field(ge=0)] = 0
    """Of that service: one of a lower generation never claims after it."""
    former: Annotated[tuple[Token, ...], Field(max_length=MAX_FORMER)] = ()
    """Tokens of services that have lost it, newest first: none of them claims again."""
    round: Annotated[int, Field(ge=0)] = 0
    """The only round that may commit."""
    token: Token = ""
    """Of that round."""
    checkpoints: Annotated[tuple[CheckpointFolder, ...], Field(max_length=MAX_CHECKPOINTS)] = ()
    """Committed ones, newest first. Old ones may have been deleted meanwhile."""
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
    """A head, and the version in which it was read."""

    head: Head
    etag: str | None
    """None: there is no head yet, and `head` is what a first one starts from."""


def read(store: ObjectStore, attempt: str) -> VersionedHead | None:
    """The head of the attempt with this prefix; None if it has none. Blocks.

    Raises:
        BrokenManifest: there is one, and it cannot be read.
        StorageError: the store cannot be used now.
    """
    key = layout.head_key(attempt)
    # The version is asked for first: if the head changes in between, a write against it is refused.
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
    """The head of an attempt, or a first one that names what manifests without a head have committed. Blocks.

    Raises:
        BrokenManifest: there is a head that cannot be read.
        StorageError: the store cannot be used now.
    """
    found = read(store, attempt)
    if found:
        return found
    keys = [listed.key for listed in store.list(attempt)]
    # By authority, newest first: the later round had the right to write, and within it the later step counts.
    at = sorted((place[1], place[0], key) for key in keys if (place := layout.parse_checkpoint_manifest(key)))
    folders = tuple(key.removeprefix(attempt).removesuffix(layout.MANIFEST) for *_, key in reversed(at))
    exported = layout.EXPORT_FOLDER if layout.export_prefix(attempt) + layout.MANIFEST in keys else None
    newest = at[-1][0] if at else 0
    return VersionedHead(Head(round=newest, checkpoints=folders[:MAX_CHECKPOINTS], export=exported), None)


def named(attempt: str, head: Head | None, keys: Iterable[str]) -> list[str]:
    """Those of `keys` below an attempt that are manifests of committed checkpoints; without a head, all of them."""
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
    """Write a head if the one that was read is still there; its new version. Blocks.

    Args:
        store: where.
        attempt: prefix of the attempt.
        head: counts one more than what was read.
        etag: version that was read; None: there was none.
        weak: where the store knows no conditional writes, compare and then write: a gap in the fence, which somebody
            has allowed.

    Raises:
        StaleWrite: somebody else has written meanwhile.
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
    """End an attempt: what its head names now is all that it will ever have committed. Blocks.

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
