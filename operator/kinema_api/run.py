"""What a trainer and an evaluator are told: the configuration of one attempt, carried in argv as JSON."""

from __future__ import annotations

from math import ceil
from typing import Final

from kinema_api.base import ApiModel
from kinema_api.data import Data
from kinema_api.evaluation import Evaluation
from kinema_api.head import ExportFolder
from kinema_api.layout import EXPORT_FOLDER, attempt_prefix
from kinema_api.training import ModelChoice, Optimization

LEAST_GRACE_SECONDS: Final = 60
MOST_GRACE_SECONDS: Final = 600
GRACE_MARGIN_SECONDS: Final = 10
"""Of the grace, what is left for the end of the process itself."""


def leaving_seconds(step_seconds: float | None, checkpoint_seconds: float | None) -> float:
    """How long a trainer may take to its next step boundary and the commit after it: twice what was measured."""
    return 2 * ((step_seconds or 0.0) + (checkpoint_seconds or 0.0))


def grace_seconds(step_seconds: float | None, checkpoint_seconds: float | None) -> int:
    """What a pod is given to end in, as steps and commits were measured: bounded, and in whole half minutes."""
    wanted = ceil((leaving_seconds(step_seconds, checkpoint_seconds) + GRACE_MARGIN_SECONDS) / 30) * 30
    return max(LEAST_GRACE_SECONDS, min(wanted, MOST_GRACE_SECONDS))


class RunConfig(ApiModel):
    """One attempt of one run; fixed from its start to its end."""

    namespace: str
    name: str
    uid: str
    run: int
    attempt: int
    resume_from: str | None = None
    """Key prefix of the checkpoint folder that this attempt starts from, ending in a slash; None: from scratch."""
    model: ModelChoice
    data: Data
    optimization: Optimization
    checkpoint_every: int
    """Optimizer steps between two checkpoints; the control plane prunes old ones."""
    skipped_steps: tuple[int, ...] = ()
    """Steps, counted from 0, whose samples are passed over: twice their loss or gradient was not finite."""
    grace_seconds: int = LEAST_GRACE_SECONDS
    """What a trainer's pod is given to end in; fixed for the attempt."""
    memory_failures: int = 0
    """Attempts of this run that ended for want of memory: trainers compute half as much at once after each."""

    @property
    def prefix(self) -> str:
        """Key prefix below which this attempt writes."""
        return attempt_prefix(self.namespace, self.name, self.uid, self.run, self.attempt)

    @property
    def rendezvous_id(self) -> str:
        """Names the group of this attempt: a worker of another attempt is refused by the store."""
        return f"{self.uid}/{self.run}/{self.attempt}"


class PublicationConfig(ApiModel):
    """The publishing of the model that one attempt has exported."""

    namespace: str
    name: str
    uid: str
    run: int
    attempt: int
    model_digest: str
    """Digest of the model to publish: another one that lies there by then is refused."""
    folder: ExportFolder = EXPORT_FOLDER
    """Where the model lies, below the attempt: its head names it."""

    @property
    def prefix(self) -> str:
        """Key prefix of the attempt, below which the model lies."""
        return attempt_prefix(self.namespace, self.name, self.uid, self.run, self.attempt)

    @property
    def export(self) -> str:
        """Key prefix of the model."""
        return self.prefix + self.folder


class EvaluationConfig(ApiModel):
    """The measuring of the model that one attempt has exported."""

    namespace: str
    name: str
    uid: str
    run: int
    attempt: int
    model_digest: str
    """Digest of the model to measure: another one that lies there by then is refused."""
    evaluation: Evaluation

    @property
    def prefix(self) -> str:
        """Key prefix of the attempt, below which model and report lie."""
        return attempt_prefix(self.namespace, self.name, self.uid, self.run, self.attempt)
