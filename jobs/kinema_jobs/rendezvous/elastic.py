"""The torchelastic side of the rendezvous: a handler that asks our service for a place in a round.

The agent of rank 0 hosts the round's TCPStore. The TCPStore may die with it: losing any member ends the round.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from torch.distributed import DistError, PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousGracefulExitError,
    RendezvousHandler,
    RendezvousInfo,
    RendezvousStoreInfo,
)

from kinema_jobs.rendezvous.errors import RendezvousFinished, RendezvousRefused, RendezvousUnreachable
from kinema_jobs.rendezvous.membership import Membership
from kinema_jobs.rendezvous.questions import Place, ask
from kinema_jobs.rendezvous.settings import BACKEND

STORE_SECONDS: Final = 10.0
"""How long a member tries to reach the store of rank 0, whose agent may have died meanwhile."""

logger = logging.getLogger(__name__)


class KinemaRendezvous(RendezvousHandler):
    """Asks the rendezvous service for a place in the next round."""

    def __init__(
        self, membership: Membership, address: str, slots: int, abandoned: Callable[[], bool] = lambda: False
    ) -> None:
        self.membership = membership
        self.place: Place | None = None
        self._address = address
        self._slots = slots
        self._abandoned = abandoned
        self._store: TCPStore | None = None
        self._closed = False

    def get_backend(self) -> str:
        """Name of the backend."""
        return BACKEND

    @property
    def use_agent_store(self) -> bool:
        """Workers connect to the store that rank 0's agent hosts."""
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        """Wait for a round; the caller's workers have stopped. Errors as in RendezvousHandler.

        Raises:
            RendezvousClosedError: the run is done.
            RendezvousConnectionError: the service does not answer or refuses this run.
            RendezvousGracefulExitError: the agent was asked to leave.
        """
        while True:
            own = TCPStore(self._address, 0, is_master=True, wait_for_workers=False)
            try:
                place = self.membership.join(f"{self._address}:{own.port}", self._slots, self._abandoned)
            except RendezvousFinished as error:
                self._closed = True
                raise RendezvousClosedError(str(error)) from None
            except (RendezvousRefused, RendezvousUnreachable) as error:
                raise RendezvousConnectionError(str(error)) from None
            if place is None:
                raise RendezvousGracefulExitError("asked to stop while waiting for a round")
            try:
                return self._enter(place, own)
            except DistError as error:
                logger.warning("round %d: lost the rendezvous store at %s (%s)", place.number, place.store, error)

    def is_closed(self) -> bool:
        """Whether the run is done."""
        return self._closed

    def set_closed(self) -> None:
        """Tell the service that the run is done: later joiners find it closed."""
        self._closed = True
        if self.place:
            ask(self.membership.endpoint, self.place, "finish", patience=STORE_SECONDS)

    def num_nodes_waiting(self) -> int:
        """More than 0 when the round is to end: a stock torchelastic agent then restarts its workers."""
        return int(self.membership.notice() is not None)

    def get_run_id(self) -> str:
        """The attempt that this group belongs to."""
        return self.membership.run_id

    def shutdown(self) -> bool:
        """Leave the group."""
        self.membership.leave()
        return True

    def _enter(self, place: Place, own: TCPStore) -> RendezvousInfo:
        host, _, port = place.store.rpartition(":")
        if place.rank == 0:
            self._store = own
        else:
            self._store = TCPStore(host, int(port), is_master=False, timeout=timedelta(seconds=STORE_SECONDS))
        self.place = place
        store = PrefixStore(f"round-{place.number}", self._store)
        return RendezvousInfo(store, place.rank, place.nodes, RendezvousStoreInfo(host, int(port)))
