"""Settings of trainers and evaluators, from the environment."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Self

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from kinema_api import launch, objectstore
from kinema_api.objectstore import ObjectStore, StoreLocation
from kinema_api.objectstores import open_store
from kinema_jobs.train.failures import BadConfiguration


class PodSettings(BaseSettings):
    """Where a run's artefacts lie; set by `kinema_api.launch`, but for what has the prefix KINEMA_TRAINER_."""

    model_config = SettingsConfigDict(env_prefix="KINEMA_TRAINER_", frozen=True)

    termination_log: Path = Field(validation_alias=launch.ENV_TERMINATION_LOG)
    """Path of the termination log."""
    store_endpoint: str = Field(validation_alias=objectstore.ENV_ENDPOINT, min_length=1)
    store_bucket: str = Field(validation_alias=objectstore.ENV_BUCKET, min_length=1)
    store_region: str = Field(default="us-east-1", validation_alias=objectstore.ENV_REGION)
    store_credentials: str = Field(default="", validation_alias=objectstore.ENV_CREDENTIALS)
    """File with StoreCredentials; empty for a folder store."""
    store_ca_file: str = Field(default="", validation_alias=objectstore.ENV_CA_FILE)
    """File with authorities of the store in PEM, which may be missing; empty: the system's alone."""

    weak_fence: bool = Field(default=False, validation_alias=objectstore.ENV_WEAK_FENCE)
    """Whether to commit on a store without conditional writes too."""

    scratch: Path = Field(default_factory=lambda: Path(tempfile.gettempdir()))
    """Folder for files being transferred to and from the object store."""
    dataset_cache_bytes: int = Field(default=4 << 30, ge=0, validation_alias=launch.ENV_DATASET_CACHE)
    """Most bytes of recorded clips that are kept in the scratch folder."""
    storage_patience_seconds: float = Field(default=300.0, gt=0)
    """How long an object store may be away before the attempt fails."""

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment.

        Raises:
            BadConfiguration: naming the variable.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            where = str(first["loc"][0])
            name = where if where.startswith("KINEMA_") else f"KINEMA_TRAINER_{where.upper()}"
            raise BadConfiguration(
                f"environment variable {name}: {first['msg'].lower()}; the operator and `kinema run` set it, "
                "see kinema_api.launch"
            ) from None

    def open_store(self) -> ObjectStore:
        """The object store of this run."""
        location = StoreLocation(endpoint=self.store_endpoint, bucket=self.store_bucket, region=self.store_region)
        credentials = Path(self.store_credentials) if self.store_credentials else None
        return open_store(location, credentials, Path(self.store_ca_file) if self.store_ca_file else None)


class TrainerSettings(PodSettings):
    """The first group is set by `kinema_api.launch`; the rest, prefix KINEMA_TRAINER_, is for tuning."""

    rendezvous: str = Field(validation_alias=launch.ENV_RENDEZVOUS, pattern=r"^.+:\d+$")
    """host:port of the rendezvous service."""
    progress_port: int = Field(validation_alias=launch.ENV_PROGRESS_PORT, ge=0, le=65535)
    """Port of /progress, /metrics and /healthz; 0: any free one, named in the progress file."""
    progress_file: Path = Field(validation_alias=launch.ENV_PROGRESS_FILE)
    """File in which the worker reports its progress to the agent."""
    pod_name: str = Field(default_factory=lambda: os.uname().nodename, validation_alias=launch.ENV_POD_NAME)
    """Name of this node in logs and at the rendezvous."""
    pod_ip: str = Field(default="127.0.0.1", validation_alias=AliasChoices(launch.ENV_POD_IP))
    """Address at which other nodes reach this one; advertised instead of a name, since DNS lags behind."""

    devices: int | None = Field(default=None, ge=1, validation_alias=launch.ENV_DEVICES)
    """GPUs that the pod was given, each for one worker; None: as many as torch sees, or one worker without any."""

    monitor_seconds: float = Field(default=0.1, gt=0)
    """How often the agent checks its workers."""
    collective_seconds: float = Field(default=60.0, gt=0)
    """Time-out of a collective of a training step."""
    leave_seconds: float = Field(default=20.0, gt=0)
    """How long a worker that is asked to stop may take to its next step boundary and checkpoint."""
    head_seconds: float = Field(default=5.0, gt=0)
    """How often rank 0 checks that its round still holds the attempt."""
    fruitless_rounds: int = Field(default=10, ge=1)
    """Rounds in a row that may end without a step before the attempt fails."""
    crashes: int = Field(default=3, ge=0)
    """Workers that may die by a signal, in a row without a step, before the attempt fails."""
