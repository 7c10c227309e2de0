"""A folder as an object store: for runs without a cluster, and for tests."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Final

from kinema_api.errors import (
    BucketMissing,
    ObjectMissing,
    ObjectTooLarge,
    RangeMissing,
    StaleWrite,
    StorageDenied,
    StorageError,
)
from kinema_api.objectstore import (
    CHUNK,
    MAX_FILE_BYTES,
    MAX_LISTED,
    MAX_OBJECT_BYTES,
    PAGE,
    ObjectStat,
    PresignedUpload,
    StoreLocation,
    hash_of,
)

HASHED_BYTES: Final = 64 << 10
"""Up to this size the ETag of a file is computed from its contents, above it from its time and length."""
_DENIED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}


class FolderStore:
    """A folder as a bucket: <folder>/<bucket>/<key>. Writes are atomic renames."""

    def __init__(self, location: StoreLocation) -> None:
        self.location = location
        self._root = Path(location.endpoint.removeprefix("file://")) / location.bucket

    def check(self) -> None:
        """See ObjectStore.check."""
        if not self._root.is_dir():
            raise BucketMissing(f"folder {self._root} does not exist; create it or correct its name")

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """See ObjectStore.put."""
        self._write(key, lambda out: Path(out).write_bytes(data))

    def put_if(self, key: str, data: bytes, etag: str | None, content_type: str = "application/octet-stream") -> str:
        """See ObjectStore.put_if. Unconditional writes do not take the lock, so they are not excluded."""
        path = self._path(key)
        with self._storage_errors(key), self._alone():
            if (self._stat(path).etag if path.is_file() else None) != etag:
                raise StaleWrite(f"{self.uri(key)} was written by another client meanwhile: read it again first")
            self.put(key, data)
            return self._stat(path).etag

    def put_file(self, key: str, path: Path, sha256: str | None = None) -> None:
        """See ObjectStore.put_file. A folder keeps no digests beside its files."""
        self._write(key, lambda out: shutil.copyfile(path, out))

    def get(self, key: str, limit: int = MAX_OBJECT_BYTES) -> bytes:
        """See ObjectStore.get."""
        with self._storage_errors(key):
            return self._within(key, limit).read_bytes()

    def get_file(self, key: str, path: Path, limit: int = MAX_FILE_BYTES) -> None:
        """See ObjectStore.get_file."""
        with self._storage_errors(key):
            shutil.copyfile(self._within(key, limit), path)

    def get_range(self, key: str, first: int, length: int, if_etag: str | None = None) -> bytes:
        """See ObjectStore.get_range."""
        with self._storage_errors(key), self._existing(key).open("rb") as file:
            file.seek(first)
            data = file.read(length)
            if if_etag is not None and self._stat(self._path(key)).etag != if_etag:
                raise StaleWrite(f"{self.uri(key)} changed while it was read; try again")
        if len(data) != length:
            raise RangeMissing(f"{self.uri(key)} ends before byte {first + length}; write the whole file again")
        return data

    def stat(self, key: str) -> ObjectStat | None:
        """See ObjectStore.stat."""
        with self._storage_errors(key):
            path = self._path(key)
            return self._stat(path) if path.is_file() else None

    def list(self, prefix: str, limit: int = MAX_LISTED) -> Iterator[ObjectStat]:
        """See ObjectStore.list."""
        with self._storage_errors(prefix):
            folder = self._root.resolve() / prefix.rpartition("/")[0]
            paths = (p for p in folder.rglob("*") if p.is_file() and _whole(p.name))
            found = sorted((f for f in map(self._stat, paths) if f.key.startswith(prefix)), key=lambda f: f.key)
        if len(found) > limit:
            raise ObjectTooLarge(f"{self.uri(prefix)} has more than {limit} objects below it; delete old ones")
        yield from found

    def pages(self, prefix: str) -> Iterator[Sequence[ObjectStat]]:
        """See ObjectStore.pages."""
        found = self._walk(prefix)
        while page := self._page(found, prefix):
            yield page

    def copy(self, source: str, target: str, if_etag: str | None = None, content_type: str | None = None) -> None:
        """See ObjectStore.copy."""
        with self._storage_errors(source):
            path = self._existing(source)
            if if_etag is not None and self._stat(path).etag != if_etag:
                raise StaleWrite(f"{self.uri(source)} changed while it was copied; try again")
        self.put_file(target, path)

    def delete(self, key: str) -> None:
        """See ObjectStore.delete."""
        with self._storage_errors(key):
            self._path(key).unlink(missing_ok=True)

    def sha256(self, key: str, limit: int = MAX_FILE_BYTES) -> tuple[str, int]:
        """See ObjectStore.sha256."""
        with self._storage_errors(key), self._within(key, limit).open("rb") as file:
            return hash_of(iter(lambda: file.read(CHUNK), b""))

    def presign_get(self, key: str, expires: timedelta, *, public: bool = False) -> str:
        """The file's own URI: a folder has no signatures."""
        return self.uri(key)

    def presign_put(self, key: str, expires: timedelta) -> str:
        """The file's own URI: a folder has no signatures."""
        return self.uri(key)

    def presign_upload(self, key: str, expires: timedelta, length: int) -> PresignedUpload:
        """A folder accepts no uploads by form."""
        raise StorageError(f"{self.uri(key)} is a file: write it there")

    def uri(self, key: str) -> str:
        """See ObjectStore.uri."""
        return self._path(key).as_uri()

    def _page(self, paths: Iterator[Path], prefix: str) -> Sequence[ObjectStat]:
        with self._storage_errors(prefix):
            return [self._stat(path) for path in islice(paths, PAGE)]

    def _walk(self, prefix: str) -> Iterator[Path]:
        """Files below a prefix in the order of their keys, where a folder's name ends in a slash."""
        root = self._root.resolve()
        waiting = [prefix.rpartition("/")[0] + "/" if "/" in prefix else ""]
        while waiting:
            key = waiting.pop()
            if key and not key.endswith("/"):
                yield root / key
                continue
            below = [key + entry.name + "/" * entry.is_dir(follow_symlinks=False) for entry in _entries(root / key)]
            wanted = [k for k in below if k.startswith(prefix) or (k.endswith("/") and prefix.startswith(k))]
            waiting += sorted(wanted, reverse=True)

    def _path(self, key: str) -> Path:
        path = (self._root / key).resolve()
        if not path.is_relative_to(self._root.resolve()):
            raise StorageError(f"key {key!r} is outside of the store's folder; correct the key")
        return path

    def _existing(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise ObjectMissing(f"{self.uri(key)} does not exist; check the address or create it again")
        return path

    def _within(self, key: str, limit: int) -> Path:
        path = self._existing(key)
        if path.stat().st_size > limit:
            raise ObjectTooLarge(f"{self.uri(key)} has more than the limit of {limit} bytes; make it smaller")
        return path

    def _stat(self, path: Path) -> ObjectStat:
        found = path.stat()
        key = path.relative_to(self._root.resolve()).as_posix()
        if found.st_size <= HASHED_BYTES:
            # Two writes within a tick of the file system's clock have the same mtime.
            etag = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            etag = f"{found.st_mtime_ns:x}-{found.st_size:x}"
        return ObjectStat(key, found.st_size, etag, found.st_mtime)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the bucket's lock, which excludes other threads and processes."""
        self.check()
        folder = os.open(self._root, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    @contextmanager
    def _storage_errors(self, key: str) -> Iterator[None]:
        """Turn errors of the file system into StorageErrors."""
        try:
            yield
        except (OSError, ValueError) as error:
            kind = StorageDenied if isinstance(error, OSError) and error.errno in _DENIED else StorageError
            why = error.strerror if isinstance(error, OSError) else type(error).__name__
            raise kind(f"folder {self._root}: {key!r}: {why}; check the folder, its rights and its disk") from None

    def _write(self, key: str, write: Callable[[str], object]) -> None:
        with self._storage_errors(key):
            path = self._path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
            os.close(handle)
            write(partial)
            Path(partial).replace(path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Files and folders within a folder, without files that are being written; none if there is no such folder."""
    try:
        with os.scandir(folder) as found:
            return [e for e in found if e.is_dir(follow_symlinks=False) or (e.is_file() and _whole(e.name))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _whole(name: str) -> bool:
    return not name.endswith(".partial")
