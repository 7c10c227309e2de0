"""Fetches a large file in pieces, several at a time, and goes on with the pieces that are missing after a failure.

One connection rarely fills a network. Which pieces are there stands in a file beside the partial one, so that a server
that was restarted within its pod does not begin anew. The digest of the whole file is compared by the caller.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from kinema_jobs.serve.transfer import NoRanges, Transfers

PIECE_BYTES: Final = 64 << 20
OnBytes = Callable[[int], None]


async def fetch_file(
    transfers: Transfers,
    name: str,
    url: str,
    target: Path,
    size: int,
    on_bytes: OnBytes = lambda _: None,
    piece: int = PIECE_BYTES,
) -> None:
    """Download `size` bytes into `target`; a file of one piece, or of a store without ranges, as a whole.

    `on_bytes` is called with the number of bytes of each piece that is there.

    Raises:
        TransferFailed: it cannot be downloaded now; what was fetched stays.
        FileUnusable: it is longer or shorter than promised, or does not exist.
    """
    if size > piece:
        try:
            await _fetch_pieces(transfers, name, url, target, size, on_bytes, piece)
        except NoRanges:
            pass
        else:
            return
    await transfers.fetch(name, url, target, size)
    on_bytes(size)


async def _fetch_pieces(
    transfers: Transfers, name: str, url: str, target: Path, size: int, on_bytes: OnBytes, piece: int
) -> None:
    record = _Record(target, size, piece)
    on_bytes(min(len(record.done) * piece, size))
    with target.open("r+b" if record.done else "wb") as file:
        os.truncate(file.fileno(), size)

        async def one(first: int, length: int) -> None:
            await transfers.fetch_range(name, url, file.fileno(), first, length)
            record.add(first)
            on_bytes(length)

        try:
            async with asyncio.TaskGroup() as group:
                for first, length in record.missing():
                    group.create_task(one(first, length))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
    record.forget()


class _Record:
    """Which pieces of a partial file have been fetched."""

    def __init__(self, target: Path, size: int, piece: int) -> None:
        self._path = target.with_name(f"{target.name}.pieces")
        self._size, self._piece = size, piece
        self.done: set[int] = set()
        try:
            kept = json.loads(self._path.read_text())
            if (kept["size"], kept["piece"]) == (size, piece) and target.stat().st_size == size:
                self.done = {int(first) for first in kept["done"]}
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def missing(self) -> Iterator[tuple[int, int]]:
        """(first byte, length) of each piece that has not been fetched."""
        for first in range(0, self._size, self._piece):
            if first not in self.done:
                yield first, min(self._piece, self._size - first)

    def add(self, first: int) -> None:
        """The piece that begins at this byte has been written."""
        self.done.add(first)
        partial = self._path.with_suffix(".new")
        partial.write_text(json.dumps({"size": self._size, "piece": self._piece, "done": sorted(self.done)}))
        partial.replace(self._path)

    def forget(self) -> None:
        """The file is whole, or is to be fetched anew."""
        self._path.unlink(missing_ok=True)
