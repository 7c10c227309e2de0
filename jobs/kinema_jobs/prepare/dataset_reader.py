"""A dataset in a bucket, read by ranges."""

from __future__ import annotations

from collections.abc import Callable

from kinema_api.errors import ObjectMissing, ObjectTooLarge, RangeMissing
from kinema_api.objectstore import ObjectStore
from kinema_dataset.errors import BrokenDataset
from kinema_dataset.reading import MAX_WHOLE_BYTES

Retry = Callable[[Callable[[], bytes]], bytes]
"""Makes a request, and makes it again as it sees fit."""


def at_once(request: Callable[[], bytes]) -> bytes:
    """Make a request once."""
    return request()


class StoreReader:
    """A `kinema_dataset.reading.RangeReader` of the files below `prefix`, which ends in a slash.

    A StorageError of a store that is away passes through, once `retry` gives up.
    """

    def __init__(self, store: ObjectStore, prefix: str, retry: Retry = at_once) -> None:
        self._store, self._prefix, self._retry = store, prefix, retry

    def read(self, name: str, first: int, length: int) -> bytes:
        """See RangeReader.read."""
        return self._told(lambda: self._store.get_range(self._prefix + name, first, length))

    def whole(self, name: str, limit: int = MAX_WHOLE_BYTES) -> bytes:
        """See RangeReader.whole."""
        return self._told(lambda: self._store.get(self._prefix + name, limit))

    def _told(self, request: Callable[[], bytes]) -> bytes:
        try:
            return self._retry(request)
        except (ObjectMissing, ObjectTooLarge, RangeMissing) as error:
            raise BrokenDataset(f"{error}. Prepare the dataset again.") from None
