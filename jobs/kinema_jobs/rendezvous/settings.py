"""Settings of the rendezvous, each an environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from kinema_api import names

BACKEND = "kinema"
"""Name by which torchrun knows this rendezvous."""
MAX_DIGITS: Final = 18
BEGUN: Final = "rendezvous-begun"


class RendezvousSettings(BaseSettings):
    """Prefix KINEMA_RENDEZVOUS_. The service tells its times to the members, so only its own environment counts."""

    model_config = SettingsConfigDict(env_prefix="KINEMA_RENDEZVOUS_", frozen=True)

    heartbeat_seconds: float = Field(default=1.0, gt=0)
    """Between two heartbeats of a member."""
    lost_seconds: float = Field(default=names.RENDEZVOUS_LOST_SECONDS, gt=0)
    """A member that is silent for this long is lost. Longer than any pause on a busy machine."""
    settle_seconds: float = Field(default=0.3, ge=0)
    """A round with a newcomer forms only when membership has not changed for this long, so that members that arrive
    together start together. Survivors of a lost member do not wait."""
    pod_info: Path = Path(names.POD_INFO_DIR)
    """Folder with values from the control plane, one file each; a value may be missing."""
    scratch: Path = Path(names.SCRATCH_DIR)
    """A folder that lives as long as the pod."""
    straggler_seconds: float = Field(default=60.0, gt=0)
    """A member that lives but does not come to the next round within this time is dropped."""

    def generation(self) -> int:
        """The later pod of an attempt has the higher generation; the service of the lower one gives way."""
        return _number(self.pod_info / names.POD_INFO_GENERATION) or 0

    def leases_over(self) -> bool:
        """Whether no member can still hold a lease of an earlier service. May be asked once per pod: True holds only
        for its first process."""
        if _number(self.pod_info / names.POD_INFO_LEASES_OVER) != 1:
            return False
        begun = self.scratch / BEGUN
        try:
            begun.touch(exist_ok=False)
        except OSError:
            return False
        return True

    def min_nodes(self) -> int | None:
        """The current minimum number of nodes of a group; None: not given."""
        return _number(self.pod_info / names.POD_INFO_MIN_NODES) or None


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None


class MemberSettings(BaseSettings):
    """Prefix KINEMA_RENDEZVOUS_: how patient an agent is."""

    model_config = SettingsConfigDict(env_prefix="KINEMA_RENDEZVOUS_", frozen=True)

    patience_seconds: float = Field(default=900.0, gt=0)
    """How long an agent tries to reach a service that does not answer; a new rendezvous pod starts within minutes."""
    connect_seconds: float = Field(default=3.0, gt=0)
    """Time-out of one attempt to connect, and of one question to the service."""
    retry_seconds: float = Field(default=0.2, gt=0)
    """Wait after a failed attempt to connect."""
