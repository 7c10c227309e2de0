"""Retries of storage requests with backoff, so that a short outage of the object store costs time but no step."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from kinema_api.errors import (
    ObjectMissing,
    ObjectTooLarge,
    RangeMissing,
    StaleWrite,
    StorageError,
    StoreLacksConditionalWrites,
)
from kinema_jobs.train.failures import StorageFailure

FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 10.0

T = TypeVar("T")
logger = logging.getLogger(__name__)


class RetryPolicy:
    """Tries a storage request until it succeeds or the store has been away for `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, request: Callable[[], T]) -> T:
        """The request's answer. Errors that no retry can change are raised at once.

        Raises:
            ObjectMissing: the object does not exist.
            ObjectTooLarge: it is longer than it may be.
            RangeMissing: it is shorter than was asked for.
            StaleWrite: the condition of a write does not hold.
            StoreLacksConditionalWrites: the store does not know them.
            StorageFailure: the store stayed away.
        """
        began = time.monotonic()
        pause = FIRST_WAIT
        while True:
            try:
                return request()
            except (ObjectMissing, ObjectTooLarge, RangeMissing, StaleWrite, StoreLacksConditionalWrites):
                raise
            except StorageError as error:
                # A refusal may pass too: the operator renews short-lived credentials.
                away = time.monotonic() - began
                if away + pause > self.seconds:
                    raise StorageFailure(f"{error} (tried for {away:.0f} s)") from error
                logger.warning("%s; next try in %.1f s", error, pause)
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_WAIT)
