"""VideoModelTraining: an elastic, multi-node training run that publishes a model."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from kinema_api import names
from kinema_api.base import (
    MAX_KEPT_SECONDS,
    SIZE_PATTERN,
    WORDED_ERROR,
    ApiModel,
    ArtifactStore,
    ClipSize,
    Conditions,
    Digest,
    LongText,
    NodeSelector,
    ObjectMeta,
    ResourceName,
    ShortText,
    Uri,
    Worded,
    cel_rules,
    store_unchanged,
)
from kinema_api.data import Data
from kinema_api.evaluation import Evaluation, EvaluationStatus
from kinema_api.resources import Resources

MAX_NODES: Final = 64
KIND: Final = "VideoModelTraining"
PLURAL: Final = "videomodeltrainings"

TrainingPhase = Literal["Pending", "Training", "Evaluating", "Publishing", "Succeeded", "Failed", "Suspended"]
FailureClass = Literal[
    "preemption", "out_of_memory", "numerics", "hardware", "stall", "network", "user_error", "unknown"
]

IMMUTABLE: Final = ("model", "data", "optimization", "evaluation", "publish", "worker")

BOUNDS_CROSSED: Final = "minNodes must not exceed maxNodes: lower minNodes or raise maxNodes"
NODES_OUTSIDE: Final = "nodes must lie between elastic.minNodes and elastic.maxNodes: change nodes or the bounds"


PATCH_SIDE: Final = 8
"""Pixels of a token's side in every preset."""
MAX_SIDE: Final = 256
"""Largest height or width of a clip in every preset."""
PRESET_SHAPES: Final = {"tiny": (128, 4), "small": (384, 6)}
"""Width and heads of the presets, which rules need where only one of them is overridden."""


def _overridden(field: str, place: int) -> str:
    """CEL for an override, or what the preset has."""
    given = f"self.overrides.{field}"
    (first, tiny), (_, small) = ((name, shape[place]) for name, shape in PRESET_SHAPES.items())
    return f"(has(self.overrides) && has({given}) ? {given} : self.preset == '{first}' ? {tiny} : {small})"


class ModelOverrides(ApiModel):
    """Changes to the preset's shape."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                f"!has(self.size) || !self.size.matches({json.dumps(SIZE_PATTERN)}) || "
                f"self.size.split('x').all(side, int(side) % {PATCH_SIDE} == 0 && int(side) <= {MAX_SIDE})",
                f"the width and the height in size are multiples of {PATCH_SIDE} up to {MAX_SIDE}: write it like 24x24",
            )
        )
    )

    width: Annotated[int, Field(ge=16, le=16384)] | None = None
    """Channels of a token; a multiple of heads."""
    depth: Annotated[int, Field(ge=1, le=256)] | None = None
    """Number of transformer blocks."""
    heads: Annotated[int, Field(ge=1, le=256)] | None = None
    """Attention heads of a block."""
    frames: Annotated[int, Field(ge=1, le=64)] | None = None
    """Frames of the clips that it is trained on, and makes when nothing else is asked for."""
    size: ClipSize | None = None
    """WIDTHxHEIGHT in pixels of these clips, multiples of 8 up to 256."""
    fps: Annotated[int, Field(ge=1, le=60)] | None = None
    """Frames per second of these clips."""


class Streaming(ApiModel):
    """How clips of open length are made: chunk after chunk, each looking back at a window of finished ones."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                "self.referenceFrames <= self.chunkFrames",
                "referenceFrames are of a shot's first chunk: lower them to at most chunkFrames",
            )
        )
    )

    chunk_frames: Annotated[int, Field(ge=1, le=64)] = 4
    """Frames that are made together."""
    window_chunks: Annotated[int, Field(ge=1, le=64)] = 2
    """Finished chunks that a chunk looks back at."""
    context_level: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Noise on finished chunks as later ones see them, so that small faults are not trusted."""
    reference_frames: Annotated[int, Field(ge=0, le=64)] = 1
    """First frames of a shot that stay in sight when the window has moved on."""


class ModelChoice(ApiModel):
    """Which network is trained."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                f"{_overridden('width', 0)} % (2 * {_overridden('heads', 1)}) == 0 && "
                f"{_overridden('width', 0)} >= 6 * {_overridden('heads', 1)}",
                "each head has an even number of channels, at least 6: make overrides.width such a multiple of "
                "overrides.heads (tiny has 128 and 4, small 384 and 6)",
            )
        )
    )

    preset: Literal["tiny", "small"]
    """A named shape of network."""
    overrides: ModelOverrides | None = None
    """Changes to the preset's shape."""
    streaming: Streaming | None = None
    """Trains half of the samples chunk by chunk, so that the model also makes clips of open length, and of shots."""


class Optimization(ApiModel):
    """How the network is optimised."""

    steps: Annotated[int, Field(ge=1, le=10_000_000)]
    """Optimizer steps in all."""
    batch_tokens: Annotated[int, Field(ge=64, le=16_777_216)] = 4096
    """Latent tokens of one optimizer step over all nodes; the number of nodes does not change it."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-3
    """Peak learning rate of AdamW."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of weights, order, noise and dropout."""


class Elastic(ApiModel):
    """Between how many nodes a run may live."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                "self.minNodes <= self.maxNodes",
                BOUNDS_CROSSED,
            )
        )
    )

    min_nodes: Annotated[int, Field(ge=1, le=MAX_NODES)]
    """The run goes on while this many nodes live."""
    max_nodes: Annotated[int, Field(ge=1, le=MAX_NODES)]
    """Upper bound of nodes, for kubectl scale."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.min_nodes > self.max_nodes:
            raise PydanticCustomError(WORDED_ERROR, BOUNDS_CROSSED)
        return self


class Checkpointing(ApiModel):
    """When state is saved and how much of it is kept."""

    every_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Optimizer steps between two checkpoints."""
    keep: Annotated[int, Field(ge=1, le=1000)] = 3
    """How many of the newest checkpoints are kept."""


class Publish(ApiModel):
    """Where the finished model goes."""

    model: ResourceName
    """Name of the VideoModel that follows this training; made when there is none."""


class Worker(ApiModel):
    """The pod of one node."""

    resources: Resources | None = None
    """Compute resources of the trainer's container."""
    node_selector: NodeSelector | None = None
    """Labels that a node must have."""


class VideoModelTrainingSpec(ApiModel):
    """What is to be trained, on what, how, on how many nodes, and where the model goes."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                "!has(self.elastic) || (self.elastic.minNodes <= self.nodes && self.nodes <= self.elastic.maxNodes)",
                NODES_OUTSIDE,
            ),
            *(
                (
                    f"(has(self.runId) && (!has(oldSelf.runId) || self.runId != oldSelf.runId)) || "
                    f"(has(self.{f}) == has(oldSelf.{f}) && (!has(self.{f}) || self.{f} == oldSelf.{f}))",
                    f"{f} is fixed for a run: give spec.runId a new value to start another run with it",
                )
                for f in IMMUTABLE
            ),
            (
                "(has(self.runId) && (!has(oldSelf.runId) || self.runId != oldSelf.runId)) || "
                f"({store_unchanged('artifactStore')})",
                "artifactStore is fixed for a run: give spec.runId a new value to start another run with it, or change "
                "its caBundle alone",
            ),
            (
                "(has(self.runId) && (!has(oldSelf.runId) || self.runId != oldSelf.runId)) || "
                "self.checkpoint.everySteps == oldSelf.checkpoint.everySteps",
                "checkpoint.everySteps is fixed for a run (keep is not): give spec.runId a new value to start "
                "another run with it",
            ),
        )
    )

    model: ModelChoice
    """Which network is trained."""
    data: Data
    """What it is trained on."""
    optimization: Optimization
    """How it is optimised."""
    nodes: Annotated[int, Field(ge=1, le=MAX_NODES)] = 1
    """Nodes that the run should have now; kubectl scale changes it."""
    elastic: Elastic | None = None
    """Between how many nodes the run may live; without it, exactly `nodes`."""
    checkpoint: Checkpointing = Checkpointing()
    """When state is saved and how much of it is kept."""
    evaluation: Evaluation | None = None
    """Measure the model when the run is done, and publish it only if it is good enough; else nothing is measured."""
    publish: Publish | None = None
    """Publish the model as a VideoModel when the run is done."""
    worker: Worker | None = None
    """The pod of one node."""
    artifact_store: ArtifactStore | None = None
    """Object store of this training; default: the operator's."""
    suspend: bool = False
    """True stops the pods and keeps the checkpoints; false goes on from the newest."""
    run_id: (
        Annotated[
            str,
            Field(max_length=63),
            Worded(
                r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
                "runId starts with a letter or digit and holds only letters, digits, dots, dashes and underscores",
            ),
        ]
        | None
    ) = None
    """A new value starts the next run, with whatever else changed."""

    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=MAX_KEPT_SECONDS)] | None = None
    """Seconds after the end of its newest run after which this resource is deleted; default: never."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What becomes of checkpoints, exports and reports when this resource is deleted. Published models stay anyway."""

    @model_validator(mode="after")
    def _nodes_within_bounds(self) -> Self:
        if self.elastic and not self.elastic.min_nodes <= self.nodes <= self.elastic.max_nodes:
            raise PydanticCustomError(WORDED_ERROR, NODES_OUTSIDE)
        return self

    @property
    def min_nodes(self) -> int:
        """The smallest number of nodes that the run goes on with."""
        return self.elastic.min_nodes if self.elastic else self.nodes


class NodeCount(ApiModel):
    """How many nodes a run has."""

    desired: int = 0
    """Nodes asked for."""
    ready: int = 0
    """Nodes that take part in the current round."""


class Progress(ApiModel):
    """How far a run is; written at most every few seconds."""

    step: int = 0
    """Optimizer steps that counted."""
    total_steps: int = 0
    """Optimizer steps in all."""
    loss: float | None = None
    """Loss of the last reported step."""
    tokens_per_second: float | None = None
    """Latent tokens over all nodes per second."""
    eta_seconds: int | None = None
    """Seconds to the last step at the present speed."""


class CheckpointStatus(ApiModel):
    """A committed checkpoint."""

    step: int
    """Optimizer step at which it was taken."""
    uri: Uri
    """Folder of its manifest."""
    digest: Digest
    """sha256 of its manifest."""
    time: datetime
    """When it was committed."""


class NumericsStatus(ApiModel):
    """A loss or gradient that was not finite, and what was done about it."""

    step: int
    """The furthest optimizer step at which it happened, counted from 1."""
    failures: int
    """How often in a row it happened at or before this step. From the second time on each attempt starts from an
    older checkpoint than the one before."""
    attempt: int
    """The attempt that ended so last."""
    skipped: Annotated[tuple[int, ...], Field(max_length=64)] = ()
    """Steps, counted from 1, whose batch of samples is passed over, since it failed twice."""


class PublishedModel(ApiModel):
    """A model that a run has published."""

    digest: Digest
    """Digest of the model: the sha256 of its manifest."""
    uri: Uri
    """Folder of the model."""
    run: int = 1
    """Run that made it."""
    time: datetime | None = None
    """When it was published."""


class RunRecord(ApiModel):
    """A run that has ended."""

    run: int
    """Number of the run."""
    run_id: ShortText | None = None
    """Its spec.runId."""
    phase: ShortText
    """How it ended."""
    attempts: int
    """How many attempts it took."""
    digest: Digest | None = None
    """What it published."""
    completed: datetime | None = None
    """When it ended."""


class VideoModelTrainingStatus(ApiModel):
    """What was seen of a training."""

    phase: TrainingPhase = "Pending"
    """Where the run stands."""
    observed_generation: int = 0
    """Generation of the spec that this status speaks of."""
    conditions: Conditions = ()
    """Accepted, Running, Evaluated, Succeeded, Failed, Suspended; for
    tools Ready, Reconciling, Stalled, and Refused (an object that the API server does not take)."""
    run: int = 0
    """Number of the run; a new spec.runId starts the next."""
    run_id: ShortText | None = None
    """The spec.runId of this run."""
    attempt: int = 0
    """Number of the attempt within the run."""
    resume_from: Uri | None = None
    """Checkpoint that this attempt started from; fixed when the attempt began."""
    nodes: NodeCount = NodeCount()
    """Nodes asked for and taking part."""
    selector: LongText | None = None
    """Label selector of the run's pods, for the scale subresource."""
    progress: Progress | None = None
    """How far the run is."""
    last_checkpoint: CheckpointStatus | None = None
    """The newest committed checkpoint."""
    restarts: Annotated[dict[str, int], Field(max_length=16)] = Field(default_factory=dict)
    """New attempts by failure class, in this run."""
    not_before: datetime | None = None
    """The next attempt does not start before this time."""
    numerics: NumericsStatus | None = None
    """There once a loss or a gradient of this run was not finite."""
    grace_seconds: int | None = None
    """What trainers of the next attempt are given to stop at a step boundary and commit, by what steps and commits of
    this run took; 60 until that is known."""
    excluded_nodes: Annotated[tuple[ShortText, ...], Field(max_length=32)] = ()
    """Nodes whose hardware failed in this run: no trainer of it is placed there any more."""
    credentials_expire: datetime | None = None
    """When the storage keys of the run's pods run out; they are renewed at half of their life."""
    evaluation: EvaluationStatus | None = None
    """How good the run's model is; there once its evaluation has begun."""
    published: PublishedModel | None = None
    """The model that was published last."""
    start_time: datetime | None = None
    """When this run began."""
    completion_time: datetime | None = None
    """When this run ended."""
    cleaned_run: int = 0
    """The newest run whose attempts were cleaned after its model was published."""
    history: Annotated[tuple[RunRecord, ...], Field(max_length=20)] = ()
    """Runs that have ended, newest first."""


@dataclass(frozen=True)
class ArtifactsRecord:
    """Where a training's artefacts lie, as an annotation keeps it for a training that is restored from a backup."""

    uid: str
    """Of the training as it was first made."""
    run: int = 0
    """The newest run that committed anything; 0: not told."""
    run_id: str | None = None
    """spec.runId of that run."""

    def __str__(self) -> str:
        return f"{self.uid}/{self.run}/{self.run_id or ''}"


ARTIFACTS: Final = re.compile(
    r"(?P<uid>[A-Za-z0-9-]{1,64})/(?P<run>[0-9]{1,6})/(?P<run_id>[A-Za-z0-9][A-Za-z0-9._-]{0,62})?"
)


class VideoModelTraining(ApiModel):
    """Trains a video model on an elastic group of nodes and publishes it."""

    metadata: ObjectMeta
    spec: VideoModelTrainingSpec
    status: VideoModelTrainingStatus = VideoModelTrainingStatus()

    @property
    def artifacts(self) -> ArtifactsRecord:
        """Under what its artefacts lie, by its annotation; by its own UID where there is none that can be read."""
        found = ARTIFACTS.fullmatch(self.metadata.annotations.get(names.ANNOTATION_ARTIFACTS, ""))
        if found is None:
            return ArtifactsRecord(self.metadata.uid)
        return ArtifactsRecord(found["uid"], int(found["run"]), found["run_id"] or None)
