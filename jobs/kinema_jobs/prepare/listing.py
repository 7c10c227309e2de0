"""Which objects below a prefix are inputs of a dataset, each with the version that was listed.

The listing is what a dataset is made of: an object that is another one by the time it is read is named, never mixed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from kinema_api.errors import ObjectMissing, ObjectTooLarge, RangeMissing, StaleWrite
from kinema_api.objectstore import ObjectStat, ObjectStore
from kinema_dataset.captions import METADATA_FILES, SIDECAR_ENDINGS, ending
from kinema_dataset.issues import Issue, Issues, Reason, shown
from kinema_dataset.records import InputFile
from kinema_jobs.errors import InputChanged

MAX_OBJECTS: Final = 2_000_000
"""Most objects below one prefix: a million clips with a file of captions each."""
PIECE: Final = 32 << 20
"""Bytes of one request for an input."""


class Kind(StrEnum):
    """What an input is, by the ending of its name; what is in it decides when it is read."""

    VIDEO = "video"
    IMAGE = "image"
    TAR = "tar"


KINDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys((".mp4", ".mov", ".webm", ".mkv"), Kind.VIDEO),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp"), Kind.IMAGE),
    ".tar": Kind.TAR,
}


@dataclass(frozen=True)
class Listing:
    """What lies below a prefix, by key and in the order of keys.

    `clips` are videos and images, `tars` hold more of them, `sidecars` and `tables` are files of captions; `issues`
    counts everything else, and names some of it.
    """

    prefix: str
    clips: Mapping[str, InputFile]
    tars: Mapping[str, InputFile]
    sidecars: Mapping[str, InputFile]
    tables: Mapping[str, InputFile]
    issues: Issues

    def files(self) -> dict[str, InputFile]:
        """All of them by key."""
        return {**self.clips, **self.tars, **self.sidecars, **self.tables}


def list_inputs(store: ObjectStore, prefix: str) -> Listing:
    """The inputs below a prefix, from one pass over its pages. Blocks.

    Raises:
        ObjectTooLarge: there are more than MAX_OBJECTS of all kinds.
        StorageError: the store cannot be used now.
    """
    clips: dict[str, InputFile] = {}
    tars: dict[str, InputFile] = {}
    sidecars: dict[str, InputFile] = {}
    tables: dict[str, InputFile] = {}
    issues = Issues()
    places = {**dict.fromkeys(KINDS, clips), ".tar": tars, **dict.fromkeys(SIDECAR_ENDINGS, sidecars)}
    for found in _objects(store, prefix):
        base = found.key.rpartition("/")[2]
        place = tables if base.lower() in METADATA_FILES else places.get(ending(found.key))
        try:
            file = _input(store, found, place is not None)
        except Issue as issue:
            issues.add(issue)
        else:
            if place is not None:
                place[found.key] = file
    return Listing(prefix, clips, tars, sidecars, tables, issues)


def changes(store: ObjectStore, listing: Listing) -> list[str]:
    """One sentence for each input that came, went or changed since it was listed, by another pass. Blocks."""
    before = listing.files()
    sentences = []
    now = list_inputs(store, listing.prefix)
    for key, file in now.files().items():
        known = before.pop(key, None)
        if known is None:
            sentences.append(f"{shown(file.uri)} was added after the bucket was listed: prepare again to use it")
        elif known != file:
            sentences.append(f"{shown(file.uri)} changed after the bucket was listed: prepare again to use it")
    sentences += [f"{shown(file.uri)} is gone since the bucket was listed: prepare again" for file in before.values()]
    return sentences


def pieces(store: ObjectStore, key: str, file: InputFile, piece: int = PIECE) -> Iterator[bytes]:
    """The bytes of an input, of the version that was listed. Blocks.

    Raises:
        InputChanged: it is another version, shorter, or gone.
        StorageError: the store cannot be used now.
    """
    for first in range(0, file.bytes, piece):
        yield read_range(store, key, file, first, min(piece, file.bytes - first))


def read_range(store: ObjectStore, key: str, file: InputFile, first: int, length: int) -> bytes:
    """Some bytes of an input, of the version that was listed. Blocks, raises as `pieces`."""
    try:
        return store.get_range(key, first, length, file.etag or None)
    except (StaleWrite, RangeMissing):
        raise InputChanged(f"{shown(file.uri)} changed after the bucket was listed: prepare again to use it") from None
    except ObjectMissing:
        raise InputChanged(f"{shown(file.uri)} is gone since the bucket was listed: prepare again") from None


def fetch(store: ObjectStore, key: str, file: InputFile, path: Path) -> None:
    """Read an input into a file. Blocks, raises as `pieces`."""
    with path.open("wb") as out:
        for piece in pieces(store, key, file):
            out.write(piece)


def _objects(store: ObjectStore, prefix: str) -> Iterator[ObjectStat]:
    count = 0
    for page in store.pages(prefix):
        count += len(page)
        if count > MAX_OBJECTS:
            raise ObjectTooLarge(f"{store.uri(prefix)} has more than {MAX_OBJECTS} objects below it; split it")
        # A key with a slash at its end stands for a folder in consoles of stores.
        yield from (found for found in page if not found.key.endswith("/"))


def _input(store: ObjectStore, found: ObjectStat, known: bool) -> InputFile:
    """An object as an input. Raises `Issue`."""
    name = found.key
    if not _is_text(name):
        raise Issue(Reason.BAD_NAME, name, "", "its name is not UTF-8. Rename it.")
    if not known or name.rpartition("/")[2].startswith("."):
        known_endings = ", ".join((*KINDS, *SIDECAR_ENDINGS))
        raise Issue(Reason.NOT_A_CLIP, name, "", f"it is left out, since its name ends in none of {known_endings}.")
    try:
        file = InputFile(uri=store.uri(name), etag=found.etag, bytes=found.bytes)
    except ValidationError:
        raise Issue(Reason.BAD_NAME, name, "", "its address has more than 2048 characters. Rename it.") from None
    if not found.bytes and ending(name) in KINDS:
        raise Issue(Reason.EMPTY_FILE, name, "", "it has no bytes. Upload it again.")
    return file


def _is_text(name: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in name)
