"""Configuration of trainers, evaluators and publishers for one attempt, passed in argv as JSON."""

from __future__ import annotations

from math import ceil
from typing import Final

from kinema_api.base import ApiModel
from kinema_api.data import Data
from kinema_api.evaluation import Evaluation
from kinema_api.finetune import RunBase
from kinema_api.head import ExportFolder
from kinema_api.layout import EXPORT_FOLDER, attempt_prefix
from kinema_api.optimization import Optimization
from kinema_api.prepare import RunDataset
from kinema_api.training import ModelChoice

LEAST_GRACE_SECONDS: Final = 60
MOST_GRACE_SECONDS: Final = 600
GRACE_MARGIN_SECONDS: Final = 10
"""Part of the grace period that is reserved for the process to exit."""


def leaving_seconds(step_seconds: float | None, checkpoint_seconds: float | None) -> float:
    """Time for a trainer to finish its step and commit a checkpoint: twice what was measured."""
    return 2 * ((step_seconds or 0.0) + (checkpoint_seconds or 0.0))


def grace_seconds(step_seconds: float | None, checkpoint_seconds: float | None) -> int:
    """Termination grace period for the measured times: bounded, and a multiple of 30 s."""
    wanted = ceil((leaving_seconds(step_seconds, checkpoint_seconds) + GRACE_MARGIN_SECONDS) / 30) * 30
    return max(LEAST_GRACE_SECONDS, min(wanted, MOST_GRACE_SECONDS))


class RunConfig(ApiModel):
    """One attempt of one run; never changes."""

    namespace: str
    name: str
    uid: str
    run: int
    attempt: int
    resume_from: str | None = None
    """Key prefix of the checkpoint folder that this attempt starts from, ending in a slash; None: from scratch."""
    model: ModelChoice
    base: RunBase | None = None
    """The model that the run began with, resolved from model.initFrom; None: weights are drawn at random."""
    data: Data
    datasets: tuple[RunDataset, ...] = ()
    """What the folders of data.videos became, in their order."""
    optimization: Optimization
    checkpoint_every: int
    """Optimizer steps between two checkpoints; the control plane prunes old ones."""
    skipped_steps: tuple[int, ...] = ()
    """Steps, counted from 0, whose samples are skipped because their loss or gradient was not finite twice."""
    grace_seconds: int = LEAST_GRACE_SECONDS
    """Termination grace period of a trainer's pod; fixed for the attempt."""
    memory_failures: int = 0
    """Attempts of this run that ran out of memory: each halves the micro-batch."""

    @property
    def prefix(self) -> str:
        """Key prefix below which this attempt writes."""
        return attempt_prefix(self.namespace, self.name, self.uid, self.run, self.attempt)

    @property
    def learning_rate(self) -> float:
        """Peak learning rate."""
        return self.optimization.rate(fine_tuning=self.base is not None)

    @property
    def rendezvous_id(self) -> str:
        """Identifies the group of this attempt: the rendezvous pod refuses workers of other attempts."""
        return f"{self.uid}/{self.run}/{self.attempt}"


class PublicationConfig(ApiModel):
    """Publication of one attempt's model."""

    namespace: str
    name: str
    uid: str
    run: int
    attempt: int
    model_digest: str
    """Digest of the model to publish; an export with another digest is refused."""
    folder: ExportFolder = EXPORT_FOLDER
    """Folder of the model below the attempt, as the head names it."""

    @property
    def prefix(self) -> str:
        """Key prefix of the attempt."""
        return attempt_prefix(self.namespace, self.name, self.uid, self.run, self.attempt)

    @property
    def export(self) -> str:
        """Key prefix of the model."""
        return self.prefix + self.folder


class EvaluationConfig(ApiModel):
    """Evaluation of one attempt's model."""

    namespace: str
    name: str
    uid: str
    run: int
    attempt: int
    model_digest: str
    """Digest of the model to evaluate; an export with another digest is refused."""
    evaluation: Evaluation
    datasets: tuple[RunDataset, ...] = ()
    """The recorded clips that the model was trained on."""

    @property
    def prefix(self) -> str:
        """Key prefix of the attempt."""
        return attempt_prefix(self.namespace, self.name, self.uid, self.run, self.attempt)
