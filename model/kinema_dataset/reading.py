"""Bytes of named files, by range: all that this package knows of where a dataset lies."""

from pathlib import Path
from typing import Final, Protocol

from kinema_dataset.errors import BrokenDataset

MAX_WHOLE_BYTES: Final = 64 << 20
"""Longest file that is read whole."""


ABOVE: Final = "../"


class RangeReader(Protocol):
    """Reads files by name; what it raises where a store is away is its own, and passes through.

    A name may lead by `../` into another folder beside the dataset's, and no further.
    """

    def read(self, name: str, first: int, length: int) -> bytes:
        """Exactly `length` bytes from byte `first` on. Raises `BrokenDataset` where the file is missing or shorter."""
        ...

    def whole(self, name: str, limit: int = MAX_WHOLE_BYTES) -> bytes:
        """All bytes of a file. Raises `BrokenDataset` where it is missing or has more than `limit` bytes."""
        ...


class FolderReader:
    """Reads the files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str, first: int, length: int) -> bytes:
        """See RangeReader.read."""
        path = self._path(name)
        try:
            with path.open("rb") as file:
                file.seek(first)
                data = file.read(length)
        except OSError as error:
            raise _unreadable(path, error) from None
        if len(data) != length:
            raise BrokenDataset(f"{path} ends before byte {first + length}. Prepare the dataset again.")
        return data

    def whole(self, name: str, limit: int = MAX_WHOLE_BYTES) -> bytes:
        """See RangeReader.whole."""
        path = self._path(name)
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise _unreadable(path, error) from None
        if len(data) > limit:
            raise BrokenDataset(f"{path} has more than {limit} bytes. Prepare the dataset again.")
        return data

    def _path(self, name: str) -> Path:
        folder = self._folder.resolve()
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.parent if name.startswith(ABOVE) else folder):
            raise BrokenDataset(f"{name!r} lies outside of {self._folder}. Prepare the dataset again.")
        return path


def _unreadable(path: Path, error: OSError) -> BrokenDataset:
    return BrokenDataset(f"{path} cannot be read ({error.strerror}). Prepare the dataset again.")
