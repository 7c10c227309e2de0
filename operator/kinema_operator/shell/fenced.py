"""An object store that can be written only while this replica leads.

Effects run in threads, which cannot be cancelled: a copy or deletion would continue after the lease is lost, in
parallel with the next leader. So each call checks the fence first, like each write to the API server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from kinema_api.objectstore import (
    MAX_FILE_BYTES,
    MAX_LISTED,
    MAX_OBJECT_BYTES,
    ObjectStat,
    ObjectStore,
    PresignedUpload,
    StoreLocation,
)
from kinema_operator.shell.store_limits import StoreLimit


class FencedStore:
    """Wraps an ObjectStore. Calls that write, or read a whole file, raise NotLeading without the lease."""

    def __init__(self, store: ObjectStore, fence: Callable[[], object]) -> None:
        self._store = store
        self._fence = fence
        self.location: StoreLocation = store.location
        self.call_limit: StoreLimit | None = None
        """Limit of concurrent calls; see store_limits.ask."""

    def check(self) -> None:
        """See ObjectStore."""
        self._store.check()

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """See ObjectStore."""
        self._fence()
        self._store.put(key, data, content_type)

    def put_if(self, key: str, data: bytes, etag: str | None, content_type: str = "application/octet-stream") -> str:
        """See ObjectStore."""
        self._fence()
        return self._store.put_if(key, data, etag, content_type)

    def put_file(self, key: str, path: Path, sha256: str | None = None) -> None:
        """See ObjectStore."""
        self._fence()
        self._store.put_file(key, path, sha256)

    def get(self, key: str, limit: int = MAX_OBJECT_BYTES) -> bytes:
        """See ObjectStore."""
        return self._store.get(key, limit)

    def get_file(self, key: str, path: Path, limit: int = MAX_FILE_BYTES) -> None:
        """See ObjectStore."""
        self._fence()
        self._store.get_file(key, path, limit)

    def get_range(self, key: str, first: int, length: int, if_etag: str | None = None) -> bytes:
        """See ObjectStore."""
        return self._store.get_range(key, first, length, if_etag)

    def stat(self, key: str) -> ObjectStat | None:
        """See ObjectStore."""
        return self._store.stat(key)

    def list(self, prefix: str, limit: int = MAX_LISTED) -> Iterator[ObjectStat]:
        """See ObjectStore."""
        return self._store.list(prefix, limit)

    def pages(self, prefix: str) -> Iterator[Sequence[ObjectStat]]:
        """See ObjectStore."""
        return self._store.pages(prefix)

    def copy(self, source: str, target: str, if_etag: str | None = None, content_type: str | None = None) -> None:
        """See ObjectStore."""
        self._fence()
        self._store.copy(source, target, if_etag, content_type)

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        self._fence()
        self._store.delete(key)

    def sha256(self, key: str, limit: int = MAX_FILE_BYTES) -> tuple[str, int]:
        """See ObjectStore."""
        self._fence()
        return self._store.sha256(key, limit)

    def presign_get(self, key: str, expires: timedelta, *, public: bool = False) -> str:
        """See ObjectStore."""
        return self._store.presign_get(key, expires, public=public)

    def presign_put(self, key: str, expires: timedelta) -> str:
        """See ObjectStore."""
        return self._store.presign_put(key, expires)

    def presign_upload(self, key: str, expires: timedelta, length: int) -> PresignedUpload:
        """See ObjectStore."""
        return self._store.presign_upload(key, expires, length)

    def uri(self, key: str) -> str:
        """See ObjectStore."""
        return self._store.uri(key)
