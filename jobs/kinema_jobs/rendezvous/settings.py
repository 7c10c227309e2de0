"""The times by which a group is formed and a silent member is given up, each an environment variable."""

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
    """A member that is silent for this long is lost. Longer than any pause that a busy machine makes."""
    settle_seconds: float = Field(default=0.3, ge=0)
    """No round with a newcomer is formed until membership has been still for this long: who comes together starts
    together. Survivors of a lost member wait for nobody."""
    pod_info: Path = Path(names.POD_INFO_DIR)
    """Folder with what the control plane tells this pod, one file each; what is not there is not told."""
    scratch: Path = Path(names.SCRATCH_DIR)
    """A folder that outlives the process and not its pod."""
    straggler_seconds: float = Field(default=60.0, gt=0)
    """A member that lives but does not come to the next round within this time is dropped."""

    def generation(self) -> int:
        """Of two services of one attempt, the one of the lower generation gives way: the later pod has the higher."""
        return _number(self.pod_info / names.POD_INFO_GENERATION) or 0

    def leases_over(self) -> bool:
        """Whether nobody is left to wait for who may still hold a lease of an earlier service. Asked once in the life
        of a pod: it holds for the first process in it only."""
        if _number(self.pod_info / names.POD_INFO_LEASES_OVER) != 1:
            return False
        begun = self.scratch / BEGUN
        try:
            begun.touch(exist_ok=False)
        except OSError:
            return False
        return True

    def min_nodes(self) -> int | None:
        """The least number of nodes of a group, as it is now; None: not told."""
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
    """How long an agent tries to reach a service that does not answer: a store is made anew within minutes."""
    connect_seconds: float = Field(default=3.0, gt=0)
    """Time-out of one attempt to connect, and of one question to the service."""
    retry_seconds: float = Field(default=0.2, gt=0)
    """Wait after a failed attempt to connect."""
