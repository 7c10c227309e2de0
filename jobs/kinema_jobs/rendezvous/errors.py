"""What can go wrong between an agent and the rendezvous service.

RendezvousError
├── RendezvousRefused      the service serves another run; trying again does not help
├── RendezvousUnreachable  no service answered within the time that an agent waits
├── RendezvousFinished     the run is done: there is nothing left to join
└── StaleRound             the caller belongs to a round that is over
    └── Superseded         a newer rendezvous service has claimed the attempt: this one never serves it again
"""

from __future__ import annotations

from kinema_jobs.errors import JobError


class RendezvousError(JobError):
    """Base of all errors of the rendezvous. `str(error)` is one sentence with a remedy."""


class RendezvousRefused(RendezvousError):
    """The service does not let this agent in."""


class RendezvousUnreachable(RendezvousError):
    """No service answered at the address."""


class RendezvousFinished(RendezvousError):
    """The run's final manifest is committed."""


class StaleRound(RendezvousError):
    """A newer round has been formed, or the caller has lost its place."""


class Superseded(StaleRound):
    """Another rendezvous service has claimed the attempt after the caller's."""
