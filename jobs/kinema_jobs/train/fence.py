"""Conditional writes from a pod: retried, and recognised as done if only the answer was lost.

Of two pods that both believe that they are current, only one can write. Imports no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from kinema_api import head as heads
from kinema_api.errors import ObjectMissing, StaleWrite, StoreLacksConditionalWrites
from kinema_api.objectstore import ObjectStore
from kinema_jobs.train.failures import StorageFailure
from kinema_jobs.train.storage import RetryPolicy


@dataclass(frozen=True)
class Fence:
    """Conditional writes to a store; `weak` as in kinema_api.head.write."""

    store: ObjectStore
    patience: RetryPolicy
    weak: bool

    def write(self, request: Callable[[], str]) -> str:
        """Do a conditional write, with retries.

        Raises:
            StaleWrite: the condition does not hold, or the write was done before and its answer lost.
            StorageFailure: the store stayed away, or knows no conditional writes.
        """
        try:
            return self.patience(request)
        except StoreLacksConditionalWrites as error:
            raise StorageFailure(f"{error}, or let the operator allow the weaker fence") from None

    def put(self, key: str, content: bytes, etag: str | None = None, content_type: str = heads.JSON) -> None:
        """Replace version `etag` of an object (None: it must not exist) by `content`; fine if it is `content` already.

        Raises:
            StaleWrite: another client has written other content.
            StorageFailure: as `write`.
        """
        try:
            self.write(lambda: heads.put_if(self.store, key, content, etag, content_type, weak=self.weak))
        except StaleWrite:
            if not self._is(key, content):
                raise

    def _is(self, key: str, content: bytes) -> bool:
        try:
            found = self.patience(lambda: self.store.sha256(key))
        except ObjectMissing:
            return False
        return found == (hashlib.sha256(content).hexdigest(), len(content))
