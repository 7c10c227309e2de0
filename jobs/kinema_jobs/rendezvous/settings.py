"""The times by which a group is formed and a silent member is given up, each an environment variable."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

BACKEND = "kinema"
"""Name by which torchrun knows this rendezvous."""
LEASE_SHARE = 0.7
"""Share of `lost_seconds` after which a member that hears nothing stops by itself: before it is given up."""


class RendezvousSettings(BaseSettings):
    """Prefix KINEMA_RENDEZVOUS_. The service tells its times to the members, so only its own environment counts."""

    model_config = SettingsConfigDict(env_prefix="KINEMA_RENDEZVOUS_", frozen=True)

    heartbeat_seconds: float = Field(default=1.0, gt=0)
    """Between two heartbeats of a member."""
    lost_seconds: float = Field(default=10.0, gt=0)
    """A member that is silent for this long is lost. Longer than any pause that a busy machine makes."""
    settle_seconds: float = Field(default=0.3, ge=0)
    """No round is formed until membership has been still for this long: who comes together starts together."""
    straggler_seconds: float = Field(default=60.0, gt=0)
    """A member that lives but does not come to the next round within this time is dropped."""


class MemberSettings(BaseSettings):
    """Prefix KINEMA_RENDEZVOUS_: how patient an agent is."""

    model_config = SettingsConfigDict(env_prefix="KINEMA_RENDEZVOUS_", frozen=True)

    patience_seconds: float = Field(default=900.0, gt=0)
    """How long an agent tries to reach a service that does not answer: a store is made anew within minutes."""
    connect_seconds: float = Field(default=3.0, gt=0)
    """Time-out of one attempt to connect, and of one question to the service."""
    retry_seconds: float = Field(default=0.2, gt=0)
    """Wait after a failed attempt to connect."""
