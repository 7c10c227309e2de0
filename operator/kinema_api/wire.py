"""Messages between the control plane and the pods: JSON over HTTP, or a termination message.

Trainer's agent (PROGRESS_PORT): GET /progress -> TrainerProgress, GET /metrics, GET /healthz.
Server (SERVER_PORT):
    POST   /v1/orders        WorkOrder -> 202 OrderState; the same (uid, attempt) again returns its state;
                             429 busy with another order; 400 a request that can never be served; 409 an older attempt;
                             422 an order with fields that this server does not know (another server may)
    GET    /v1/orders/{uid}  -> 200 OrderState, 404 unknown (a server forgets its orders on restart)
    DELETE /v1/orders/{uid}  -> 202; stops before the next denoising step
    GET    /v1/server        -> ServerState
    GET    /healthz
    All but /healthz carry the operator's signature for this pod (kinema_api.signature), else 401.
Server (SERVER_METRICS_PORT): GET /metrics.
Errors of a server: {"error": "<sentence with a remedy>"}.

Messages of pods are untrusted: every number is finite and bounded and every text has a maximum length, so that they can
be copied into a status. A message that exceeds a bound is rejected.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from kinema_api import layout
from kinema_api.base import MAX_CA_BUNDLE, MESSAGE_ERROR, SIZE_PATTERN, ApiModel
from kinema_api.clip import ClipRequest
from kinema_api.generation import Seam
from kinema_api.inputs import Region
from kinema_api.manifest import ManifestFile, Sha256
from kinema_api.training_status import FailureClass

MAX_COUNT: Final = 2**53 - 1
"""The largest integer that every JSON parser keeps exactly."""
MAX_ARTEFACT_BYTES: Final = max(artefact.max_bytes for artefact in layout.ARTEFACTS.values())
"""Longest file that a server may upload."""
MAX_ARTEFACTS: Final = 8
MAX_ORDER_BYTES: Final = 4 << 20
"""Longest order that a server reads: every file has a presigned URL of up to two kilobytes."""
MAX_ORDERED_FILES: Final = 1000
"""Most files of a model that is served."""
MAX_SENTENCE: Final = 4096
MAX_SAID_AT_LENGTH: Final = 1 << 14

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Number = Annotated[float, Field(ge=0, le=float(MAX_COUNT), allow_inf_nan=False)]
"""Finite, and not below 0."""
Name = Annotated[str, Field(max_length=256)]
Sentence = Annotated[str, Field(max_length=MAX_SENTENCE)]


def _none_unless_finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Measured = Annotated[Annotated[float, Field(allow_inf_nan=False)] | None, BeforeValidator(_none_unless_finite)]
"""An optional number; NaN and infinity become None, since a loss can be NaN."""

Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
EpochSeconds = Annotated[float, Field(ge=0, le=253_402_300_799, allow_inf_nan=False)]
"""Seconds since 1970 by the sender's clock, up to the year 9999: for display, never compared with another clock."""


class CommittedCheckpoint(ApiModel):
    """The newest checkpoint that a trainer has committed."""

    step: Count
    prefix: Annotated[str, Field(max_length=900)]
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    time: EpochSeconds
    age_seconds: Seconds | None = None
    """Seconds since the commit; None: unknown to this trainer."""


class TrainerProgress(ApiModel):
    """GET /progress of a trainer's agent. It has ages rather than times, since clocks differ."""

    run: Count
    attempt: Count
    round: Count = 0
    """0: no round yet."""
    rank: Annotated[int, Field(ge=-1, le=MAX_COUNT)] = -1
    """-1: not in a round now."""
    world_size: Count = 0
    """Workers of the round; 0: not in a round now."""
    nodes: Count | None = None
    """Nodes of the round; None: from a trainer of an older version."""
    step: Count = 0
    total_steps: Count = 0
    loss: Measured = None
    step_seconds: Annotated[Seconds | None, BeforeValidator(_none_unless_finite)] = None
    tokens_per_second: Measured = None
    last_step_time: Measured = None
    """When this round's newest step ended; for operators of older versions, which do not read ages."""
    step_age_seconds: Seconds | None = None
    """Seconds since this round's newest step ended; None: no step yet."""
    rendezvous_silent_seconds: Seconds | None = None
    """Seconds since the rendezvous pod last responded to this node; None: from a trainer of an older version."""
    rendezvous_lease_seconds: Seconds | None = None
    """Seconds that its workers continue without a response of the rendezvous pod, as set by that pod; None: not in a
    group yet, or a trainer of an older version."""
    checkpoint: CommittedCheckpoint | None = None
    checkpoint_seconds: Annotated[Seconds | None, BeforeValidator(_none_unless_finite)] = None
    """Seconds that the newest checkpoint delayed the steps, including its upload."""
    exported: bool = False
    """The export is committed: the run is done."""


class EvaluationResult(ApiModel):
    """result.json of a report, for the control plane."""

    model_digest: str
    """Digest of the evaluated model."""
    accuracy: dict[str, Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]]
    """Accuracy by metric (kinema_api.evaluation.METRICS)."""
    lower_bounds: dict[str, Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]] = Field(default_factory=dict)
    """Lower bound of the 95 % interval of each accuracy; empty in reports of versions that had none."""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Duration of the evaluation."""


class TerminationMessage(ApiModel):
    """A trainer's or an evaluator's termination message."""

    failure_class: FailureClass
    message: str
    step: Count | None = None


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
"""Exit code of a trainer's container by failure class."""


EXPORT_BROKEN_EXIT: Final = 46
"""Exit code of a publisher's container: the export does not match its manifest, so it can never be published."""


Authorities = Annotated[str, Field(max_length=MAX_CA_BUNDLE)]
"""CA certificates (PEM) to trust, in addition to the system's, for the URLs of the same object."""


class PresignedFile(ApiModel):
    """A file of the model, with a presigned URL."""

    file: ManifestFile
    url: str


class UploadTarget(ApiModel):
    """Presigned PUT for one artefact, below the prefix of the attempt."""

    name: str
    """video.mp4, thumbnail.webp, spritesheet.webp or request.json."""
    url: str


class OrderedModel(ApiModel):
    """The model of an order, with presigned URLs."""

    digest: str
    manifest_url: str
    files: tuple[PresignedFile, ...]
    ca_bundle: Authorities | None = None


class OrderedInput(ApiModel):
    """An input of an order, with a presigned URL."""

    name: Literal["input", "end", "mask"]
    """Field of the spec."""
    url: str
    bytes: int
    """Size; more is not read."""
    sha256: Sha256 | None = None
    """None: unknown before it is read."""
    ca_bundle: Authorities | None = None


class WorkOrder(ClipRequest):
    """One attempt at one generation."""

    uid: str
    attempt: int
    namespace: str
    name: str
    model: OrderedModel
    inputs: tuple[OrderedInput, ...] = ()
    mask_region: Region | None = None
    uploads: tuple[UploadTarget, ...]
    ca_bundle: Authorities | None = None
    """For the uploads."""

    @model_validator(mode="after")
    def _repeatable(self) -> Self:
        if self.seed is None:
            raise PydanticCustomError(MESSAGE_ERROR, "the order has no seed: send the one that the generation recorded")
        return self


def unknown_fields(model: ApiModel, value: Any, prefix: str = "") -> tuple[str, ...]:
    """Fields of the JSON `value` that `model`, which was parsed from it, does not have; nulls do not count."""
    if not isinstance(value, dict):
        return ()
    found: list[str] = []
    known = {field.alias or name: name for name, field in type(model).model_fields.items()}
    for key, part in value.items():
        name = known.get(key) or (key if key in type(model).model_fields else None)
        if name is None:
            found += [f"{prefix}{key}"] if part is not None else []
            continue
        held = getattr(model, name)
        children = held if isinstance(held, tuple) else (held,)
        parts = part if isinstance(part, list) else [part]
        for child, raw in zip(children, parts, strict=False):
            if isinstance(child, ApiModel):
                found += unknown_fields(child, raw, f"{prefix}{key}.")
    return tuple(dict.fromkeys(found))


class UploadedFile(ApiModel):
    """An artefact that a server has uploaded."""

    name: Annotated[str, Field(max_length=64)]
    sha256: Sha256
    bytes: Annotated[int, Field(ge=0, le=MAX_ARTEFACT_BYTES)]


class EncodedPrompt(ApiModel):
    """How the model encoded the prompt of an order."""

    tokens: Count = 0
    limit: Count = 0
    cut: Annotated[str, Field(max_length=MAX_SAID_AT_LENGTH)] = ""
    """The end of the prompt that was cut off."""
    unseen_words: Annotated[tuple[Annotated[str, Field(max_length=MAX_SENTENCE)], ...], Field(max_length=64)] = ()
    """Words that did not occur in training."""


class OrderResult(ApiModel):
    """The result of an order that succeeded."""

    files: Annotated[tuple[UploadedFile, ...], Field(max_length=MAX_ARTEFACTS)]
    seconds: Number
    size: Annotated[str, Field(max_length=9, pattern=SIZE_PATTERN)]
    fps: Number
    load_seconds: Number
    denoise_seconds: Number
    encode_seconds: Number
    seams: Annotated[tuple[Seam, ...], Field(max_length=1024)] = ()
    expanded_prompt: Annotated[str, Field(max_length=MAX_SAID_AT_LENGTH)] | None = None
    prompt: EncodedPrompt | None = None
    warnings: Annotated[tuple[Sentence, ...], Field(max_length=64)] = ()
    """What may make the clip worse."""


class OrderState(ApiModel):
    """GET /v1/orders/{uid}."""

    uid: Name
    attempt: Count
    phase: Literal["loading", "denoising", "encoding", "succeeded", "failed", "cancelled"]
    step: Count = 0
    total_steps: Count = 0
    loaded_percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Share of the model's files that this server has; large ones take long."""
    error: Sentence | None = None
    retriable: bool = True
    """False: the request itself is invalid, so no other server can render it."""
    result: OrderResult | None = None


class ServerState(ApiModel):
    """GET /v1/server."""

    digest: Name | None = None
    """Digest of the model in memory."""
    order: Name | None = None
    """uid of the current order."""
