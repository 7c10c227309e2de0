"""A folder of samples that were fetched lately, shared by all processes of a node, which never exceeds its bound.

A file is named by the sha256 of its bytes: whatever else lies under that name is a damaged copy, and is dropped. Files
are written and removed under a lock of the whole folder, held while one sample is written to the local disk. They are
read without it: a file that is removed stays readable for whoever has opened it. The least recently used go first.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

_LOCK: Final = "lock"
_KEPT: Final = 0.9
"""Share of the bound that is left when room is made, so that not every sample that is written makes room."""


class SampleCache:
    """At most `limit` bytes of samples in `folder`, which is made where it is missing; 0 keeps none.

    The file `lock` holds the bytes that are there. It is empty while they change, so that after a process was killed in
    the middle the next one counts them anew.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, digest: str, fetch: Callable[[], bytes]) -> bytes:
        """The bytes of that sha256: from the folder, or else by `fetch`, whose errors pass through.

        `fetch` gives bytes of that digest: who fetches has checked them. A disk that is full or broken costs speed, and
        nothing else.
        """
        path = self._folder / digest
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            if sha256(data).hexdigest() == digest:
                os.utime(path)
                return data
            self._drop(path)
        data = fetch()
        if len(data) <= self._limit:
            with contextlib.suppress(OSError):
                self._keep(path, data)
        return data

    def _keep(self, path: Path, data: bytes) -> None:
        with self._alone() as lock:
            if path.exists():
                return
            total = self._count(lock)
            _write(lock, b"")
            if total + len(data) > self._limit:
                total = self._make_room(len(data))
            draft = path.with_suffix(".partial")
            draft.write_bytes(data)
            draft.replace(path)
            _write(lock, str(total + len(data)).encode())

    def _drop(self, path: Path) -> None:
        with self._alone() as lock:
            _write(lock, b"")
            path.unlink(missing_ok=True)

    def _count(self, lock: int) -> int:
        """Bytes of all files, as noted, or counted anew where no note holds; then what was half written goes."""
        noted = os.pread(lock, 32, 0)
        if noted.isdigit():
            return int(noted)
        for draft in self._folder.glob("*.partial"):
            draft.unlink(missing_ok=True)
        return sum(size for _, size, _ in self._files())

    def _make_room(self, wanted: int) -> int:
        """Remove what was used least recently until `wanted` bytes fit; the bytes that are left."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total + wanted <= max(self._limit * _KEPT, wanted):
                break
            path.unlink(missing_ok=True)
            total -= size
        return total

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """When each file was last used, its bytes, and its path."""
        for entry in os.scandir(self._folder):
            if entry.name != _LOCK:
                found = entry.stat()
                yield found.st_mtime_ns, found.st_size, Path(entry.path)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[int]:
        """The lock's file, held against threads and processes alike."""
        lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock
        finally:
            os.close(lock)


def _write(lock: int, note: bytes) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, note, 0)
