"""Typed settings of a server; every field is an environment variable with the prefix KINEMA_SERVER_."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from kinema_api.names import SCRATCH_DIR
from kinema_api.wire import MAX_ORDER_BYTES


class ServerSettings(BaseSettings):
    """Read once at start; the defaults fit a pod with an emptyDir at /tmp."""

    model_config = SettingsConfigDict(env_prefix="KINEMA_SERVER_", frozen=True)

    cache_dir: Path = Path(SCRATCH_DIR) / "kinema-models"
    """Where model files are kept, one folder per digest; survives a restart of the container."""
    host: str | None = None
    """Address to listen on; unset: every address, IPv4 and IPv6."""
    grace_seconds: float = Field(default=20.0, ge=0)
    """After SIGTERM, how long the active order may run: below the pod's terminationGracePeriodSeconds."""
    request_seconds: float = Field(default=10.0, gt=0)
    """Time-out for the header of a connection's first request, and for the body of any request."""
    max_order_bytes: int = Field(default=MAX_ORDER_BYTES, ge=1024)
    """Largest body of a request."""
    remembered_orders: int = Field(default=256, ge=1)
    """Number of ended orders whose state is kept for the operator."""
    connect_seconds: float = Field(default=5.0, gt=0)
    """Time-out of a connection to the object store."""
    stall_seconds: float = Field(default=60.0, gt=0)
    """A transfer without a byte for this long is aborted and tried again."""
    transfer_patience_seconds: float = Field(default=120.0, ge=0)
    """How long a transfer is tried again before the order fails: longer than a restart of the object store."""
    retry_initial_seconds: float = Field(default=0.2, gt=0)
    """Wait after the first failed try of a transfer; doubles up to retry_max_seconds."""
    retry_max_seconds: float = Field(default=5.0, gt=0)
    """Longest wait between two tries."""
    parallel_transfers: int = Field(default=4, ge=1)
    """Files fetched or uploaded at a time."""
