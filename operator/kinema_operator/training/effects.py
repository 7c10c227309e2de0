"""What the plan of a training may have done outside the API server: data; `perform.py` carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kinema_api.training import ArtifactsRecord
from kinema_operator.core.plan import Effect


@dataclass(frozen=True)
class IssueCredentials(Effect):
    """Make or renew a Secret with storage credentials: the trainers', or those of the pod that publishes a model."""

    publishes: str | None = None
    """Digest of the model to publish: these open its export and its folder, and nothing else."""

    urgent: ClassVar[bool] = True


@dataclass(frozen=True)
class RememberArtifacts(Effect):
    """Write down, where a backup keeps it, under what the training's artefacts lie."""

    record: ArtifactsRecord


@dataclass(frozen=True)
class PruneCheckpoints(Effect):
    """Delete a run's old checkpoints."""

    run: int
    prefix: str
    """Prefix of the run."""
    keep: int
    protected: str | None
    """Prefix of the checkpoint that the current attempt resumed from."""


@dataclass(frozen=True)
class CleanAttempts(Effect):
    """Delete what nothing needs any more of a run whose model is published."""

    prefix: str
    """Of the run."""
    report: str
    """Prefix of the report on the model."""
    keep: int
    """Newest checkpoints that stay."""


@dataclass(frozen=True)
class DeleteArtifacts(Effect):
    """Delete all that a training has written."""

    prefix: str


@dataclass(frozen=True)
class SetFinalizer(Effect):
    """Have the finalizer on the training, or not."""

    wanted: bool


@dataclass(frozen=True)
class CloseAttempt(Effect):
    """Let nothing be committed any more in an attempt that is over."""

    prefix: str
    """Of the attempt."""
