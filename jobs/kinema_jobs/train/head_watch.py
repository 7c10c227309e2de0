"""Checks now and then whether this round still holds its attempt, so that a group that has lost it stops.

The next commit would fail too, but may be thousands of steps away.
"""

from __future__ import annotations

import logging
import threading
import time

from kinema_api.errors import KinemaApiError
from kinema_jobs.errors import JobError
from kinema_jobs.train.head import AttemptHead

logger = logging.getLogger(__name__)


class HeadWatch:
    """Reads the head every `seconds` in its own thread; `require_held` raises the result between two steps."""

    def __init__(self, head: AttemptHead, seconds: float) -> None:
        self._head = head
        self._seconds = seconds
        self._lost: JobError | None = None
        threading.Thread(target=self._look, name="head", daemon=True).start()

    def require_held(self) -> None:
        """Raise the error that the last check found, if any.

        Raises:
            StaleRound: another round, or another rendezvous, holds the attempt.
            AttemptOver: the control plane has closed it.
        """
        if self._lost:
            raise self._lost

    def _look(self) -> None:
        while self._lost is None:
            time.sleep(self._seconds)
            try:
                self._head.require()
            except JobError as error:
                self._lost = error
            except KinemaApiError as error:
                # An unreadable head is no reason to stop: the commit decides.
                logger.info("cannot read the attempt's head: %s", error)
