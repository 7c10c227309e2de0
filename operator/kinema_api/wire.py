"""What travels between the control plane and the pods, as JSON over HTTP or a termination message.

Trainer's agent (PROGRESS_PORT): GET /progress -> TrainerProgress, GET /metrics, GET /healthz.
Server (SERVER_PORT):
    POST   /v1/orders        WorkOrder -> 202 OrderState; the same (uid, attempt) again answers its state;
                             429 busy with another order; 400 a request that can never be served; 409 an older attempt
    GET    /v1/orders/{uid}  -> 200 OrderState, 404 unknown (a restarted server forgets: give it another attempt)
    DELETE /v1/orders/{uid}  -> 202; stops before the next denoising step
    GET    /v1/server        -> ServerState
    GET    /healthz
Server (SERVER_METRICS_PORT): GET /metrics.
Errors of a server: {"error": "<sentence with a remedy>"}.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kinema_api.base import ApiModel
from kinema_api.generation import Seam, Shot
from kinema_api.inputs import Region, TaskName
from kinema_api.manifest import ManifestFile, Sha256
from kinema_api.training import FailureClass


class CommittedCheckpoint(ApiModel):
    """The newest checkpoint that a trainer has committed."""

    step: int
    prefix: str
    digest: str
    time: float
    """Seconds since the epoch."""


class TrainerProgress(ApiModel):
    """GET /progress of a trainer's agent."""

    run: int
    attempt: int
    round: int = 0
    """0: waits for its first round."""
    rank: int = -1
    world_size: int = 0
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    step_seconds: float | None = None
    tokens_per_second: float | None = None
    last_step_time: float | None = None
    """Seconds since the epoch."""
    checkpoint: CommittedCheckpoint | None = None
    exported: bool = False
    """export/manifest.json is committed: the run is done."""


class EvaluationResult(ApiModel):
    """result.json of a report: what the control plane reads of it."""

    model_digest: str
    """Digest of the model that was measured."""
    accuracy: dict[str, Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]]
    """Share of right answers by metric (kinema_api.evaluation.METRICS)."""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """How long measuring took."""


class LastWord(ApiModel):
    """A trainer's or an evaluator's termination message."""

    failure_class: FailureClass
    message: str
    step: int | None = None


EXIT_CODES: dict[FailureClass, int] = {
    "user_error": 2,
    "out_of_memory": 40,
    "numerics": 41,
    "stall": 42,
    "network": 43,
    "preemption": 44,
    "hardware": 45,
    "unknown": 1,
}
"""Exit code of a trainer's container by the class of its failure."""


class PresignedFile(ApiModel):
    """A file of the model that a server may fetch."""

    file: ManifestFile
    url: str


class UploadTarget(ApiModel):
    """Where a server leaves one artefact: a presigned PUT below its own attempt."""

    name: str
    """video.mp4, thumbnail.webp, spritesheet.webp or request.json."""
    url: str


class OrderedModel(ApiModel):
    """The model that an order wants, with the means to fetch it."""

    digest: str
    manifest_url: str
    files: tuple[PresignedFile, ...]


class OrderedInput(ApiModel):
    """What a task works on, with the means to fetch it."""

    name: Literal["input", "end", "mask"]
    """The field of the spec that it stands for."""
    url: str
    bytes: int
    """Its length; more is not fetched."""
    sha256: Sha256 | None = None
    """None: not known before it is read."""


class WorkOrder(ApiModel):
    """One attempt at one generation."""

    uid: str
    attempt: int
    namespace: str
    name: str
    model: OrderedModel
    prompt: str
    negative_prompt: str | None = None
    expand_prompt: bool = False
    task: TaskName = "text"
    inputs: tuple[OrderedInput, ...] = ()
    input_seconds: float | None = None
    mask_region: Region | None = None
    strength: float | None = None
    seconds: float
    shots: tuple[Shot, ...] = ()
    size: str | None = None
    fps: int | None = None
    seed: int
    steps: int
    guidance_scale: float
    uploads: tuple[UploadTarget, ...]


class UploadedFile(ApiModel):
    """An artefact that a server has uploaded."""

    name: str
    sha256: Sha256
    bytes: int


class OrderResult(ApiModel):
    """What an order that succeeded left behind."""

    files: tuple[UploadedFile, ...]
    seconds: float
    size: str
    fps: float
    load_seconds: float
    denoise_seconds: float
    encode_seconds: float
    seams: tuple[Seam, ...] = ()
    expanded_prompt: str | None = None


class OrderState(ApiModel):
    """GET /v1/orders/{uid}."""

    uid: str
    attempt: int
    phase: Literal["loading", "denoising", "encoding", "succeeded", "failed", "cancelled"]
    step: int = 0
    total_steps: int = 0
    error: str | None = None
    retriable: bool = True
    """False: the request itself is at fault, and no other server will do better."""
    result: OrderResult | None = None


class ServerState(ApiModel):
    """GET /v1/server."""

    digest: str | None = None
    """Digest of the model in memory."""
    order: str | None = None
    """uid of the order in hand."""
