"""VideoModelTraining: an elastic, multi-node training run that publishes a model."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from kinema_api import names
from kinema_api.base import (
    MAX_KEPT_SECONDS,
    MESSAGE_ERROR,
    SIZE_PATTERN,
    ApiModel,
    ArtifactStore,
    ClipSize,
    Matches,
    NodeSelector,
    ObjectMeta,
    ResourceName,
    cel_rules,
    store_unchanged,
)
from kinema_api.clip import FrameRate
from kinema_api.data import MAX_CLIP_FRAMES, MAX_CLIP_SIDE, Data
from kinema_api.evaluation import Evaluation
from kinema_api.finetune import InitFrom
from kinema_api.optimization import Optimization
from kinema_api.pod_template import PodTemplate, TrainerPodTemplate, effective, given_once, require_given_once
from kinema_api.resources import Resources
from kinema_api.training_status import VideoModelTrainingStatus

MAX_NODES: Final = 1024
KIND: Final = "VideoModelTraining"
PLURAL: Final = "videomodeltrainings"

IMMUTABLE: Final = ("model", "data", "optimization", "evaluation", "publish", "worker")

BOUNDS_CROSSED: Final = "minNodes must not exceed maxNodes: lower minNodes or raise maxNodes"
OTHER_BUCKET: Final = (
    "data.videos lie in the bucket of spec.artifactStore: copy the clips there, or name the bucket that they lie in"
)
ONE_START: Final = "a model has exactly one of preset and initFrom: keep one"
SHAPE_OF_BASE: Final = (
    "width, depth, heads and codec are those of the base: remove them from overrides, or train a preset without "
    "initFrom"
)
LORA_WITHOUT_BASE: Final = (
    "optimization.lora trains adapters of a model that exists: set model.initFrom in place of preset, or remove lora"
)
NODES_OUTSIDE: Final = "nodes must lie between elastic.minNodes and elastic.maxNodes: change nodes or the bounds"


PATCH_SIDE: Final = 8
"""Side of a patch (token) in pixels, in every preset."""
PRESET_SHAPES: Final = {"tiny": (128, 4), "small": (384, 6)}
"""Width and heads of the presets, for rules where only one of them is overridden."""
PRESET_CLIPS: Final = {"tiny": (8, 24, 24, 8), "small": (16, 64, 64, 8)}
"""Frames, height and width in pixels, and frames per second of the presets' clips, to which recorded clips are cut."""


def _overridden(field: str, place: int) -> str:
    """CEL expression for an override, or the preset's value where it is absent."""
    override = f"self.overrides.{field}"
    (first, tiny), (_, small) = ((name, shape[place]) for name, shape in PRESET_SHAPES.items())
    return f"(has(self.overrides) && has({override}) ? {override} : self.preset == '{first}' ? {tiny} : {small})"


class ModelOverrides(ApiModel):
    """Overrides of the configuration of a preset or a base."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                f"!has(self.size) || !self.size.matches({json.dumps(SIZE_PATTERN)}) || "
                f"self.size.split('x').all(side, int(side) % {PATCH_SIDE} == 0 && int(side) <= {MAX_CLIP_SIDE})",
                f"the width and the height in size are multiples of {PATCH_SIDE} up to {MAX_CLIP_SIDE}: write it like "
                "24x24",
            )
        )
    )

    width: Annotated[int, Field(ge=16, le=16384)] | None = None
    """Channels per token; a multiple of heads."""
    depth: Annotated[int, Field(ge=1, le=256)] | None = None
    """Number of transformer blocks."""
    heads: Annotated[int, Field(ge=1, le=256)] | None = None
    """Attention heads per block."""
    frames: Annotated[int, Field(ge=1, le=MAX_CLIP_FRAMES)] | None = None
    """Frames of a training clip, and of a generated clip by default. Trainers refuse a clip that does not fit into
    memory."""
    size: ClipSize | None = None
    """WIDTHxHEIGHT of a training clip in pixels, multiples of 8 up to 2048."""
    fps: FrameRate | None = None
    """Frames per second of a training clip."""
    codec: Literal["pixel", "world"] | None = None
    """What a token is made of: pixel, the pixels of a patch, as presets have it; or world, 16 numbers that a small
    learned codec makes of them, whose decoder sees over the edges of patches. It draws simple scenes at their best;
    backgrounds of other scenes lose some of their colour."""


class Streaming(ApiModel):
    """Chunk-wise autoregressive generation of clips of open length; each chunk attends to a window of finished
    chunks."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                "self.referenceFrames <= self.chunkFrames",
                "referenceFrames must not exceed chunkFrames: lower referenceFrames",
            )
        )
    )

    chunk_frames: Annotated[int, Field(ge=1, le=64)] = 4
    """Frames that are denoised together."""
    window_chunks: Annotated[int, Field(ge=1, le=64)] = 2
    """Finished chunks that a chunk attends to."""
    context_level: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Noise level of finished chunks in the attention context, in [0, 1); noise keeps errors from accumulating."""
    reference_frames: Annotated[int, Field(ge=0, le=64)] = 1
    """First frames of a shot that stay in the attention context after they have left the window."""


class ModelChoice(ApiModel):
    """The network to train."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            ("has(self.preset) != has(self.initFrom)", ONE_START),
            (
                "!has(self.initFrom) || !has(self.overrides) || "
                "!(has(self.overrides.width) || has(self.overrides.depth) || has(self.overrides.heads) || "
                "has(self.overrides.codec))",
                SHAPE_OF_BASE,
            ),
            (
                f"!has(self.preset) || ({_overridden('width', 0)} % (2 * {_overridden('heads', 1)}) == 0 && "
                f"{_overridden('width', 0)} >= 6 * {_overridden('heads', 1)})",
                "each head has an even number of channels, at least 6: make overrides.width such a multiple of "
                "overrides.heads (tiny has 128 and 4, small 384 and 6)",
            ),
        )
    )

    preset: Literal["tiny", "small"] | None = None
    """A named configuration of the network, whose weights are drawn at random."""
    init_from: InitFrom | None = None
    """A model to begin with, in its own configuration."""
    overrides: ModelOverrides | None = None
    """Overrides of the preset's configuration; of a base's, only frames, size and fps."""
    streaming: Streaming | None = None
    """Train half of the samples chunk by chunk, so that the model can also generate clips of open length and clips of
    several shots. Default: as the base, else not."""

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.preset is None) == (self.init_from is None):
            raise PydanticCustomError(MESSAGE_ERROR, ONE_START)
        given = self.overrides
        if self.init_from and given and (given.width or given.depth or given.heads or given.codec):
            raise PydanticCustomError(MESSAGE_ERROR, SHAPE_OF_BASE)
        return self


class Elastic(ApiModel):
    """Bounds on the number of nodes of a run."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                "self.minNodes <= self.maxNodes",
                BOUNDS_CROSSED,
            )
        )
    )

    min_nodes: Annotated[int, Field(ge=1, le=MAX_NODES)]
    """Least nodes with which the run continues."""
    max_nodes: Annotated[int, Field(ge=1, le=MAX_NODES)]
    """Most nodes, for kubectl scale."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.min_nodes > self.max_nodes:
            raise PydanticCustomError(MESSAGE_ERROR, BOUNDS_CROSSED)
        return self


class Checkpointing(ApiModel):
    """How often checkpoints are written and how many are kept."""

    every_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Optimizer steps between two checkpoints."""
    keep: Annotated[int, Field(ge=1, le=1000)] = 3
    """Number of newest checkpoints to keep."""


class Publish(ApiModel):
    """The VideoModel that serves the trained model."""

    model: ResourceName
    """Name of the VideoModel that follows this training; created if it does not exist."""


class Worker(ApiModel):
    """Pods of the training nodes."""

    model_config = ConfigDict(json_schema_extra=cel_rules(*given_once()))

    resources: Resources | None = None
    """Compute resources of the trainer container; podTemplate.resources wins."""
    node_selector: NodeSelector | None = None
    """Labels that a node must have; podTemplate.nodeSelector wins."""
    pod_template: TrainerPodTemplate | None = None
    """What else the pods have; fixed for a run."""

    @model_validator(mode="after")
    def _given_once(self) -> Self:
        require_given_once(self.resources, self.node_selector, self.pod_template)
        return self

    @property
    def template(self) -> TrainerPodTemplate:
        """The pod template, with the older fields beside it where it says nothing."""
        return effective(self.pod_template or TrainerPodTemplate(), self.resources, self.node_selector)


class VideoModelTrainingSpec(ApiModel):
    """The model to train, its data, optimisation, nodes and publication."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            ("!has(self.optimization.lora) || has(self.model.initFrom)", LORA_WITHOUT_BASE),
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
                "!has(self.artifactStore) || !has(self.data.videos) || "
                "self.data.videos.all(v, v.uri.startsWith('s3://' + self.artifactStore.bucket + '/'))",
                OTHER_BUCKET,
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
    """The network to train."""
    data: Data
    """Training data."""
    optimization: Optimization
    """Optimisation of the network."""
    nodes: Annotated[int, Field(ge=1, le=MAX_NODES)] = 1
    """Desired number of nodes; kubectl scale changes it."""
    elastic: Elastic | None = None
    """Bounds on the number of nodes; default: exactly `nodes`."""
    checkpoint: Checkpointing = Checkpointing()
    """How often checkpoints are written and how many are kept."""
    evaluation: Evaluation | None = None
    """Evaluate the model when training is complete, and publish it only if it passes the gate. Default: no
    evaluation."""
    publish: Publish | None = None
    """Publish the model as a VideoModel when the run is complete."""
    worker: Worker | None = None
    """Pods of the training nodes."""
    artifact_store: ArtifactStore | None = None
    """Object store of this training; default: the operator's."""
    suspend: bool = False
    """True deletes the pods and keeps the checkpoints; false resumes from the newest checkpoint."""
    run_id: (
        Annotated[
            str,
            Field(max_length=63),
            Matches(
                r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
                "runId starts with a letter or digit and holds only letters, digits, dots, dashes and underscores: "
                "correct it",
            ),
        ]
        | None
    ) = None
    """A new value starts a new run, with all other changes of the spec."""

    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=MAX_KEPT_SECONDS)] | None = None
    """Seconds after the newest run has ended after which this resource is deleted; default: never."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """Whether checkpoints, exports and reports are deleted with this resource. Published models are kept in either
    case."""

    @model_validator(mode="after")
    def _adapters_have_a_base(self) -> Self:
        if self.optimization.lora and not self.model.init_from:
            raise PydanticCustomError(MESSAGE_ERROR, LORA_WITHOUT_BASE)
        return self

    @model_validator(mode="after")
    def _nodes_within_bounds(self) -> Self:
        if self.elastic and not self.elastic.min_nodes <= self.nodes <= self.elastic.max_nodes:
            raise PydanticCustomError(MESSAGE_ERROR, NODES_OUTSIDE)
        return self

    @model_validator(mode="after")
    def _videos_in_the_bucket(self) -> Self:
        own = self.artifact_store and f"s3://{self.artifact_store.bucket}/"
        if own and not all(clips.uri.startswith(own) for clips in self.data.videos):
            raise PydanticCustomError(MESSAGE_ERROR, OTHER_BUCKET)
        return self

    @property
    def trainer_template(self) -> TrainerPodTemplate:
        """What the trainers' pods have beside what Kinema sets."""
        return self.worker.template if self.worker else TrainerPodTemplate()

    @property
    def evaluator_template(self) -> PodTemplate:
        """The same of the evaluator's pod: as the trainers', but for their service account and what it says itself."""
        base = self.trainer_template.model_copy(update={"service_account_name": None})
        own = self.evaluation.pod_template if self.evaluation else None
        return own.over(base) if own else base

    @property
    def min_nodes(self) -> int:
        """Least nodes with which the run continues."""
        return self.elastic.min_nodes if self.elastic else self.nodes


@dataclass(frozen=True)
class ArtifactsRecord:
    """Where a training's artefacts are stored; kept in an annotation, for a training restored from a backup."""

    uid: str
    """UID of the training when it was first created."""
    run: int = 0
    """The newest run that committed anything; 0: unknown."""
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
        """Where its artefacts are stored: from the annotation, else (absent or malformed) by its own UID."""
        found = ARTIFACTS.fullmatch(self.metadata.annotations.get(names.ANNOTATION_ARTIFACTS, ""))
        if found is None:
            return ArtifactsRecord(self.metadata.uid)
        return ArtifactsRecord(found["uid"], int(found["run"]), found["run_id"] or None)
