"""The status of a VideoModelTraining: what the operator reports."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from kinema_api.base import (
    ApiModel,
    Conditions,
    Digest,
    LongText,
    ShortText,
    Uri,
)
from kinema_api.evaluation import EvaluationStatus
from kinema_api.finetune import BaseStatus
from kinema_api.prepare import PreparedDataset
from kinema_api.recorded import MAX_PREFIXES

TrainingPhase = Literal[
    "Pending", "Preparing", "Training", "Evaluating", "Publishing", "Succeeded", "Failed", "Suspended"
]
FailureClass = Literal[
    "preemption", "out_of_memory", "numerics", "hardware", "stall", "network", "user_error", "unknown"
]


class NodeCount(ApiModel):
    """Number of nodes of a run."""

    desired: int = 0
    """Desired nodes."""
    ready: int = 0
    """Nodes that have joined the current rendezvous round; while clips are prepared, pods that prepare them."""


class Progress(ApiModel):
    """Progress of a run; updated at most every few seconds."""

    step: int = 0
    """Completed optimizer steps."""
    total_steps: int = 0
    """Optimizer steps in all."""
    loss: float | None = None
    """Loss of the last reported step."""
    tokens_per_second: float | None = None
    """Latent tokens per second over all nodes."""
    eta_seconds: int | None = None
    """Estimated seconds to the last step at the current speed."""


class CheckpointStatus(ApiModel):
    """A committed checkpoint."""

    step: int
    """Optimizer step of the checkpoint."""
    uri: Uri
    """Folder of the checkpoint's manifest."""
    digest: Digest
    """SHA-256 digest of the checkpoint's manifest."""
    time: datetime
    """When it was committed."""


class NumericsStatus(ApiModel):
    """Non-finite losses or gradients and the response to them."""

    step: int
    """The highest optimizer step, counted from 1, at which a loss or gradient was not finite."""
    failures: int
    """Consecutive failures at or before this step. From the second on, each attempt resumes from an older checkpoint
    than the one before."""
    attempt: int
    """The last attempt that failed in this way."""
    skipped: Annotated[tuple[int, ...], Field(max_length=64)] = ()
    """Optimizer steps, counted from 1, whose batch is skipped because it failed twice."""


class DatasetStatus(ApiModel):
    """The recorded clips of a run, prepared for training."""

    digest: Digest
    """Digest over the datasets in the order of spec.data.videos."""
    samples: int
    """Clips of all datasets."""
    seconds: float
    """Length of all clips together."""
    report_uri: Uri
    """Page that shows what was kept, and what was left out and why."""
    datasets: Annotated[tuple[PreparedDataset, ...], Field(max_length=MAX_PREFIXES)]
    """One for each folder, in the order of spec.data.videos."""


class PublishedModel(ApiModel):
    """A published model."""

    digest: Digest
    """Digest of the model: the SHA-256 of its manifest."""
    uri: Uri
    """Folder of the model."""
    run: int = 1
    """Number of the run that trained it."""
    time: datetime | None = None
    """When it was published."""


class RunRecord(ApiModel):
    """A run that has ended."""

    run: int
    """Number of the run."""
    run_id: ShortText | None = None
    """The run's spec.runId."""
    phase: ShortText
    """Final phase."""
    attempts: int
    """Number of attempts."""
    digest: Digest | None = None
    """Digest of the model that it published."""
    completed: datetime | None = None
    """When it ended."""


class VideoModelTrainingStatus(ApiModel):
    """Observed state of a training."""

    phase: TrainingPhase = "Pending"
    """Phase of the run."""
    observed_generation: int = 0
    """metadata.generation that this status was computed from."""
    conditions: Conditions = ()
    """Accepted, Prepared, Running, Evaluated, Succeeded, Failed, Suspended; for tools Ready, Reconciling, Stalled; and
    Refused (the API server refused an object that the operator wrote)."""
    run: int = 0
    """Number of the current run; a new spec.runId starts the next."""
    run_id: ShortText | None = None
    """spec.runId of the current run."""
    base: BaseStatus | None = None
    """The model that the run began with, for a training with model.initFrom; fixed for the run."""
    attempt: int = 0
    """Number of the current attempt within the run."""
    resume_from: Uri | None = None
    """Checkpoint that this attempt resumed from; fixed when the attempt began."""
    nodes: NodeCount = NodeCount()
    """Desired and ready nodes."""
    selector: LongText | None = None
    """Label selector of the run's pods, for the scale subresource."""
    progress: Progress | None = None
    """Progress of the run."""
    last_checkpoint: CheckpointStatus | None = None
    """The newest committed checkpoint."""
    restarts: Annotated[dict[str, int], Field(max_length=16)] = Field(default_factory=dict)
    """Restarts of this run by failure class."""
    not_before: datetime | None = None
    """Earliest start of the next attempt."""
    numerics: NumericsStatus | None = None
    """Set once a loss or gradient of this run was not finite."""
    grace_seconds: int | None = None
    """Termination grace period of the next attempt's trainers, in seconds: the time to finish a step and commit a
    checkpoint, as measured in this run; 60 until it has been measured."""
    excluded_nodes: Annotated[tuple[ShortText, ...], Field(max_length=32)] = ()
    """Nodes whose hardware failed in this run; its trainers are no longer scheduled there."""
    credentials_expire: datetime | None = None
    """When the storage credentials of the run's pods expire; they are renewed at half of their lifetime."""
    dataset: DatasetStatus | None = None
    """The run's recorded clips; set once they are prepared."""
    evaluation: EvaluationStatus | None = None
    """Evaluation of the run's model; set once it has begun."""
    published: PublishedModel | None = None
    """The model that was published last."""
    start_time: datetime | None = None
    """When the current run began."""
    completion_time: datetime | None = None
    """When the current run ended."""
    cleaned_run: int = 0
    """The newest run whose attempt folders were deleted after its model was published."""
    history: Annotated[tuple[RunRecord, ...], Field(max_length=20)] = ()
    """Runs that have ended, newest first."""
