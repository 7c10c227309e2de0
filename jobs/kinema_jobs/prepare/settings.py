"""Settings of a preparing pod, from the environment: the store as trainers read it, and what is its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Self

from pydantic import Field

from kinema_api import launch, objectstore
from kinema_api.prepare import ENV_CAPTIONER_KEY_FILE, ENV_WORKER
from kinema_jobs.train.settings import PodSettings

DEFAULT_PORT: Final = 0


class PrepareSettings(PodSettings):
    """What is set by `kinema_api.launch` and by the Job's controller."""

    worker: int = Field(default=0, ge=0, validation_alias=ENV_WORKER)
    """Index of this worker; how many there are is not told, since that may change at any time."""
    progress_port: int = Field(default=DEFAULT_PORT, ge=0, le=65535, validation_alias=launch.ENV_PROGRESS_PORT)
    """Port of /progress, /metrics and /healthz; 0: any free one."""
    captioner_key_file: Path | None = Field(default=None, validation_alias=ENV_CAPTIONER_KEY_FILE)
    """File with the key of the captioning endpoint, alone in it; None: no key is sent."""

    @classmethod
    def local(cls, out: Path) -> Self:
        """The settings of a process without a cluster, whose store is the folder `out`.

        Raises BadConfiguration, as `from_environment`.
        """
        os.environ.update(
            {
                launch.ENV_TERMINATION_LOG: os.devnull,
                objectstore.ENV_ENDPOINT: f"file://{out.parent}",
                objectstore.ENV_BUCKET: out.name or ".",
            }
        )
        return cls.from_environment()
