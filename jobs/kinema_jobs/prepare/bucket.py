"""The stores of a preparing job: where inputs are read and where what they became is written, both with retries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from kinema_api.errors import ObjectMissing, StaleWrite
from kinema_api.objectstore import ObjectStat, ObjectStore
from kinema_jobs.train.fence import Fence
from kinema_jobs.train.storage import RetryPolicy

JSON: Final = "application/json"
HTML: Final = "text/html; charset=utf-8"
MAX_JSON_BYTES: Final = 256 << 20
T = TypeVar("T")


@dataclass(frozen=True)
class Bucket:
    """A store with retries. Every method raises StorageFailure where the store stays away."""

    store: ObjectStore
    patience: RetryPolicy
    weak: bool = False

    def insist(self, request: Callable[[], T]) -> T:
        """See `RetryPolicy`."""
        return self.patience(request)

    def read(self, key: str, limit: int = MAX_JSON_BYTES) -> bytes | None:
        """The bytes of an object; None if it does not exist."""
        try:
            return self.patience(lambda: self.store.get(key, limit))
        except ObjectMissing:
            return None

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return self.patience(lambda: self.store.stat(key)) is not None

    def names(self, prefix: str) -> set[str]:
        """Names of the objects below a prefix, without it."""
        return {found.key.removeprefix(prefix) for page in self.patience(lambda: self._pages(prefix)) for found in page}

    def create(self, key: str, data: bytes, content_type: str = JSON) -> bool:
        """Write an object unless there is one; whether it has these bytes now."""
        try:
            Fence(self.store, self.patience, self.weak).put(key, data, None, content_type)
        except StaleWrite:
            return False
        return True

    def put(self, key: str, data: bytes, content_type: str = JSON) -> None:
        """Write an object."""
        self.patience(lambda: self.store.put(key, data, content_type))

    def delete(self, key: str) -> None:
        """Delete an object, if it is there."""
        self.patience(lambda: self.store.delete(key))

    def put_named_by_content(self, key: str, path: Path) -> None:
        """Write an object whose name follows from its bytes, unless it is there."""
        if not self.exists(key):
            self.patience(lambda: self.store.put_file(key, path))

    def _pages(self, prefix: str) -> list[Sequence[ObjectStat]]:
        return list(self.store.pages(prefix))


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in their order, so many at a time."""
    yield from (items[at : at + size] for at in range(0, len(items), size))
