"""Entry point of the group `torchrun.handlers`: `torchrun --rdzv-backend kinema --rdzv-endpoint HOST:PORT`.

Torch loads entry points while it imports its own rendezvous package, so nothing of torch is imported here at once.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from kinema_jobs.rendezvous.membership import Membership
from kinema_jobs.rendezvous.settings import BACKEND

if TYPE_CHECKING:
    from torch.distributed.elastic.rendezvous import (
        RendezvousHandler,
        RendezvousHandlerCreator,
        RendezvousParameters,
    )


def create_handler() -> RendezvousHandlerCreator:
    """Torch calls this once and keeps what it returns."""
    return from_parameters


def from_parameters(parameters: RendezvousParameters) -> RendezvousHandler:
    """A handler from torchrun's parameters. The service, not torchrun, decides `min_nodes` and `max_nodes`."""
    from kinema_jobs.rendezvous.elastic import KinemaRendezvous

    address = parameters.local_addr or socket.gethostbyname(socket.gethostname())
    name = os.environ.get("KINEMA_POD_NAME") or socket.gethostname()
    slots = parameters.get_as_int("slots", 1) or 1
    return KinemaRendezvous(Membership(parameters.endpoint, parameters.run_id, name), address, slots)


def register() -> None:
    """Make the backend known where the package's entry points are not installed."""
    from torch.distributed.elastic.rendezvous import rendezvous_handler_registry

    rendezvous_handler_registry.register(BACKEND, from_parameters)
