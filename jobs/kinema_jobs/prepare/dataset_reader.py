"""A dataset in a bucket, read by ranges: by any process that the reader is passed on to, forked or started anew."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from kinema_api.errors import ObjectMissing, ObjectTooLarge, RangeMissing
from kinema_api.objectstore import ObjectStore
from kinema_dataset.errors import BrokenDataset
from kinema_dataset.reading import ABOVE, MAX_WHOLE_BYTES

Retry = Callable[[Callable[[], bytes]], bytes]
"""Makes a request, and makes it again as it sees fit."""


def at_once(request: Callable[[], bytes]) -> bytes:
    """Make a request once."""
    return request()


class StoreReader:
    """A `kinema_dataset.reading.RangeReader` of the files below `prefix`, which ends in a slash.

    `connect` opens the store, once in each process: two processes cannot share the connections of one. A StorageError
    of a store that is away passes through, once `retry` gives up.
    """

    def __init__(self, connect: Callable[[], ObjectStore], prefix: str, retry: Retry = at_once) -> None:
        self._connect, self._prefix, self._retry = connect, prefix, retry
        self._opened: tuple[int, ObjectStore] | None = None

    def read(self, name: str, first: int, length: int) -> bytes:
        """See RangeReader.read."""
        return self._told(lambda: self._store().get_range(self._key(name), first, length))

    def whole(self, name: str, limit: int = MAX_WHOLE_BYTES) -> bytes:
        """See RangeReader.whole."""
        return self._told(lambda: self._store().get(self._key(name), limit))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def _key(self, name: str) -> str:
        if not name.startswith(ABOVE):
            return self._prefix + name
        return self._prefix.rstrip("/").rpartition("/")[0] + "/" + name.removeprefix(ABOVE)

    def _store(self) -> ObjectStore:
        """The store of this process."""
        here = os.getpid()
        if self._opened is None or self._opened[0] != here:
            self._opened = here, self._connect()
        return self._opened[1]

    def _told(self, request: Callable[[], bytes]) -> bytes:
        try:
            return self._retry(request)
        except (ObjectMissing, ObjectTooLarge, RangeMissing) as error:
            raise BrokenDataset(f"{error}. Prepare the dataset again.") from None
