"""Effects of a training outside the API server, as data; `perform.py` carries them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kinema_api.training import ArtifactsRecord
from kinema_operator.core.plan import Effect


@dataclass(frozen=True)
class IssueCredentials(Effect):
    """Create or renew a Secret with storage credentials, for trainers, for the publisher or for those that prepare
    clips."""

    publishes: str | None = None
    """Digest of the model to publish: the credentials are scoped to its export and its folder. None: for trainers."""
    prepares: bool = False
    """For the pods that prepare recorded clips; with the key of their captioning endpoint."""

    urgent: ClassVar[bool] = True


@dataclass(frozen=True)
class RememberArtifacts(Effect):
    """Record the location of the training's artefacts in an annotation, which backups keep."""

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
    """Delete the files of a run that are not needed after its model is published."""

    prefix: str
    """Prefix of the run."""
    report: str
    """Prefix of the report on the model."""
    keep: int
    """Number of newest checkpoints to keep."""


@dataclass(frozen=True)
class DeleteArtifacts(Effect):
    """Delete all that a training has written."""

    prefix: str


@dataclass(frozen=True)
class SetFinalizer(Effect):
    """Add the finalizer to the training, or remove it."""

    wanted: bool


@dataclass(frozen=True)
class CloseAttempt(Effect):
    """Close the head of an attempt that is over, so that nothing more is committed in it."""

    prefix: str
    """Prefix of the attempt."""
