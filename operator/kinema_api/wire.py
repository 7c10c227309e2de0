"""What travels between the control plane and the pods, as JSON over HTTP or a termination message.

Trainer's agent (PROGRESS_PORT): GET /progress -> TrainerProgress, GET /metrics, GET /healthz.
Server (SERVER_PORT):
    POST   /v1/orders        WorkOrder -> 202 OrderState; the same (uid, attempt) again answers its state;
                             429 busy with another order; 400 a request that can never be served; 409 an older attempt;
                             422 an order with fields that this server does not know: another server may
    GET    /v1/orders/{uid}  -> 200 OrderState, 404 unknown (a restarted server forgets: give it another attempt)
    DELETE /v1/orders/{uid}  -> 202; stops before the next denoising step
    GET    /v1/server        -> ServerState
    GET    /healthz
    All but /healthz carry the operator's signature for this pod (kinema_api.signature), else 401.
Server (SERVER_METRICS_PORT): GET /metrics.
Errors of a server: {"error": "<sentence with a remedy>"}.

What a pod says is input like any other: every number is finite and bounded and every text has a longest length, so
that what was read can be written into a status. What does not fit is not read at all.
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
"""The largest whole number that every reader of JSON understands alike."""
MAX_ARTEFACT_BYTES: Final = max(artefact.max_bytes for artefact in layout.ARTEFACTS.values())
"""Longest file that a server may leave behind."""
MAX_ARTEFACTS: Final = 8
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
"""A figure that may be missing: what is not finite counts as missing, since a loss may well be NaN."""

Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
EpochSeconds = Annotated[float, Field(ge=0, le=253_402_300_799, allow_inf_nan=False)]
"""Seconds since 1970 by the clock of whoever tells it, up to the year 9999: for people, never compared with another
clock."""


class CommittedCheckpoint(ApiModel):
    """The newest checkpoint that a trainer has committed."""

    step: Count
    prefix: Annotated[str, Field(max_length=900)]
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    time: EpochSeconds
    age_seconds: Seconds | None = None
    """Since it was committed; None: this trainer did not see it."""


class TrainerProgress(ApiModel):
    """GET /progress of a trainer's agent. It tells ages, since clocks differ; all is bounded, since a pod says it."""

    run: Count
    attempt: Count
    round: Count = 0
    """0: waits for its first round."""
    rank: Annotated[int, Field(ge=-1, le=MAX_COUNT)] = -1
    """-1: takes part in no round now."""
    world_size: Count = 0
    """Workers of its round; 0: it takes part in none now."""
    nodes: Count | None = None
    """Nodes of its round; None: told by a trainer that does not know."""
    step: Count = 0
    total_steps: Count = 0
    loss: Measured = None
    step_seconds: Annotated[Seconds | None, BeforeValidator(_none_unless_finite)] = None
    tokens_per_second: Measured = None
    last_step_time: Measured = None
    """When this round's newest step ended; for operators that do not know ages."""
    step_age_seconds: Seconds | None = None
    """Since this round's newest step ended; None: it has made none."""
    rendezvous_silent_seconds: Seconds | None = None
    """For how long this node has not heard its rendezvous; None: told by a trainer that does not tell."""
    rendezvous_lease_seconds: Seconds | None = None
    """For how long its workers go on without hearing it, as that rendezvous said; None: it has heard none, or it is a
    trainer that does not tell."""
    checkpoint: CommittedCheckpoint | None = None
    checkpoint_seconds: Annotated[Seconds | None, BeforeValidator(_none_unless_finite)] = None
    """How long the newest checkpoint held up the steps, its upload included."""
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
"""Exit code of a trainer's container by the class of its failure."""


EXPORT_BROKEN_EXIT: Final = 46
"""Exit code of a publisher's container: the export is not what its manifest says, so it can never be published."""


Authorities = Annotated[str, Field(max_length=MAX_CA_BUNDLE)]
"""PEM of authorities that are trusted, beside the system's, for the addresses next to it."""


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
    ca_bundle: Authorities | None = None


class OrderedInput(ApiModel):
    """What a task works on, with the means to fetch it."""

    name: Literal["input", "end", "mask"]
    """The field of the spec that it stands for."""
    url: str
    bytes: int
    """Its length; more is not fetched."""
    sha256: Sha256 | None = None
    """None: not known before it is read."""
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
    """Fields of the JSON `value` that `model`, which was read from it, knows nothing of; an absent one is no field."""
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
    """What the model heard of the words of an order."""

    tokens: Count = 0
    limit: Count = 0
    cut: Annotated[str, Field(max_length=MAX_SAID_AT_LENGTH)] = ""
    """The end that it did not hear."""
    unseen_words: Annotated[tuple[Annotated[str, Field(max_length=MAX_SENTENCE)], ...], Field(max_length=64)] = ()
    """Words that it was not trained on."""


class OrderResult(ApiModel):
    """What an order that succeeded left behind."""

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


class OrderState(ApiModel):
    """GET /v1/orders/{uid}."""

    uid: Name
    attempt: Count
    phase: Literal["loading", "denoising", "encoding", "succeeded", "failed", "cancelled"]
    step: Count = 0
    total_steps: Count = 0
    error: Sentence | None = None
    retriable: bool = True
    """False: the request itself is at fault, and no other server will do better."""
    result: OrderResult | None = None


class ServerState(ApiModel):
    """GET /v1/server."""

    digest: Name | None = None
    """Digest of the model in memory."""
    order: Name | None = None
    """uid of the order in hand."""
