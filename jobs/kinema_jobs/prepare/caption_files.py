"""Captions of a listing, read from the bucket: a file that cannot be used costs its own captions alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final

from kinema_api.objectstore import ObjectStore
from kinema_dataset.captions import CaptionBook
from kinema_dataset.errors import MetadataUnreadable
from kinema_dataset.issues import Issue, Issues, Reason
from kinema_dataset.records import InputFile
from kinema_dataset.sidecars import MAX_SIDECAR_BYTES
from kinema_dataset.tables import MAX_METADATA_BYTES
from kinema_dataset.tars import TarClip, clips_of
from kinema_jobs.prepare.listing import Listing, pieces, read_range
from kinema_model.source import Captions

THREADS: Final = 16
"""Requests for small files at a time."""
_BATCH: Final = 256
"""Files beside clips that are in memory at a time."""


def read_captions(store: ObjectStore, listing: Listing) -> tuple[Mapping[str, Captions], Issues]:
    """Captions by key of the clips of a listing that have any, and what was wrong. Blocks.

    Raises:
        InputChanged: a file of captions is another one than was listed, or gone.
        StorageError: the store cannot be used now.
    """
    book = CaptionBook(listing.clips)
    for key, data in _small_files(store, listing.sidecars, book.issues):
        book.add_sidecar(key, data)
    for key, file in listing.tables.items():
        if file.bytes > MAX_METADATA_BYTES:
            book.issues.add(Issue(Reason.UNREADABLE, key, "", f"more than {MAX_METADATA_BYTES} bytes. Split it."))
            continue
        try:
            book.add_metadata(key, b"".join(pieces(store, key, file)))
        except MetadataUnreadable as error:
            book.add_unreadable(key, error)
    return book.settle(), book.issues


def read_tar(store: ObjectStore, key: str, file: InputFile, issues: Issues) -> Iterator[TarClip]:
    """The clips of a tar of a listing, where they lie in it, with their captions. Blocks, raises as `read_captions`."""
    yield from clips_of(lambda first, length: read_range(store, key, file, first, length), file.bytes, key, issues)


def _small_files(store: ObjectStore, files: Mapping[str, InputFile], issues: Issues) -> Iterator[tuple[str, bytes]]:
    """Key and bytes of each file; those that are too long to be one caption are counted, and not read."""
    waiting = iter(files.items())
    with ThreadPoolExecutor(THREADS) as threads:
        while batch := list(islice(waiting, _BATCH)):
            short = [(key, file) for key, file in batch if file.bytes <= MAX_SIDECAR_BYTES]
            for key, _ in (entry for entry in batch if entry not in short):
                sentence = f"it has more than {MAX_SIDECAR_BYTES} bytes, which is no caption. Shorten it."
                issues.add(Issue(Reason.TOO_LONG, key, "", sentence))
            yield from threads.map(lambda entry: (entry[0], b"".join(pieces(store, *entry))), short)
