"""VideoGeneration: a request for one clip, which is stored as an MP4."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from kinema_api.base import (
    MAX_KEPT_SECONDS,
    ApiModel,
    ArtifactStore,
    Conditions,
    Digest,
    LongText,
    ObjectMeta,
    ResourceName,
    ShortText,
    Uri,
    cel_rules,
    store_unchanged,
)
from kinema_api.clip import SHOT_RULES, ClipSpec
from kinema_api.inputs import TASK_RULES

KIND: Final = "VideoGeneration"
PLURAL: Final = "videogenerations"
MAX_SEAMS: Final = 4
MAX_UNSEEN_WORDS: Final = 32
MAX_FRAMES: Final = 1_000_000
MAX_WARNINGS: Final = 8

GenerationPhase = Literal["Pending", "Scheduled", "Running", "Succeeded", "Failed", "Cancelled"]


class ModelRef(ApiModel):
    """A reference to a VideoModel in the same namespace."""

    name: ResourceName
    """Name of the VideoModel."""


def _rules(schema: dict[str, Any]) -> None:
    unchanged = (
        (
            f"has(self.{f}) == has(oldSelf.{f}) && (!has(self.{f}) || self.{f} == oldSelf.{f})",
            f"{f} is immutable: create another VideoGeneration",
        )
        for f in IMMUTABLE
    )
    own = (
        (
            store_unchanged("artifactStore"),
            "artifactStore is immutable: create another VideoGeneration, or change its caBundle alone",
        ),
        (
            "!oldSelf.cancel || self.cancel",
            "a cancelled generation stays cancelled: create another VideoGeneration",
        ),
    )
    schema.update(cel_rules(*unchanged, *own, *TASK_RULES, *SHOT_RULES))


class VideoGenerationSpec(ClipSpec):
    """The clip to render."""

    model_config = ConfigDict(json_schema_extra=_rules)

    model_ref: ModelRef
    """The model that renders the clip."""
    deadline_seconds: Annotated[int, Field(ge=1, le=86400)] = 3600
    """Seconds from creation after which an unfinished request fails."""
    cancel: bool = False
    """True cancels the request."""
    retention_seconds: Annotated[int, Field(ge=0, le=MAX_KEPT_SECONDS)] | None = None
    """Seconds after the request has ended for which the clip is kept in the object store; default: for ever."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=MAX_KEPT_SECONDS)] | None = None
    """Seconds after the request has ended after which this resource is deleted, but not before retentionSeconds are
    over. The clip is kept for retentionSeconds in any case. Default: never."""
    artifact_store: ArtifactStore | None = None
    """Object store for the clip; default: the model's, else the operator's."""


IMMUTABLE: Final = tuple(
    str(field.alias)
    for name, field in VideoGenerationSpec.model_fields.items()
    if name not in ("cancel", "artifact_store")  # these have rules of their own
)
"""Fields of a spec that never change."""


class GenerationProgress(ApiModel):
    """Progress of a clip."""

    stage: Annotated[str, Field(max_length=16)] | None = None
    """Current stage of the server: loading, denoising or encoding."""
    loaded_percent: int = 0
    """Share of the model's files that the server has fetched, from 0 to 100."""
    moved: datetime | None = None
    """When progress last advanced."""
    step_seconds: float | None = None
    """The longest denoising step of this attempt so far, in seconds."""

    step: int = 0
    """Denoising steps done."""
    total_steps: int = 0
    """Denoising steps in all."""
    percent: int = 0
    """Progress from 0 to 100."""


class Artefact(ApiModel):
    """A committed file of a generation."""

    uri: Uri
    """Location in the object store."""
    url: Annotated[str, Field(max_length=4096)] | None = None
    """A presigned URL, which anyone who can read this status can open until `urlExpires`; set only if
    KINEMA_STATUS_URLS is on. `kinema download` requests a presigned URL of its own."""
    url_expires: datetime | None = None
    """When the presigned URL expires."""
    sha256: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 digest of the file."""
    bytes: int
    """Size in bytes."""


class VideoArtefact(Artefact):
    """The committed clip."""

    seconds: float
    """Length of the clip in seconds."""
    size: ShortText
    """WIDTHxHEIGHT in pixels."""
    fps: float = 0
    """Frames per second."""


class Timings(ApiModel):
    """Duration of each stage."""

    queued_seconds: float | None = None
    """Seconds from creation to the start on a server."""
    load_seconds: float | None = None
    """Seconds of loading the model; unset if it was loaded already."""
    denoise_seconds: float | None = None
    """Seconds of denoising."""
    encode_seconds: float | None = None
    """Seconds of decoding latents, encoding video and uploading."""


Brightness = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Seam(ApiModel):
    """A boundary between input frames and generated frames: differences are mean absolute brightness from 0 to 1,
    measured before input frames are pasted in."""

    frame: Annotated[int, Field(ge=0, le=MAX_FRAMES)]
    """Index of the first frame after the boundary."""
    jump: Brightness
    """Difference between the frames on both sides of the boundary."""
    usual: Brightness
    """Mean difference between neighbouring generated frames."""


class PromptStatus(ApiModel):
    """How the model encoded the prompt."""

    tokens: int = 0
    """Tokens that the model encoded."""
    limit: int = 0
    """Most tokens that the model can encode."""
    cut: LongText | None = None
    """The end of the prompt, which was cut off at the limit."""
    unseen_words: Annotated[tuple[ShortText, ...], Field(max_length=MAX_UNSEEN_WORDS)] = ()
    """Words of the prompt that did not occur in the model's training captions, up to 32; the model ignores them."""


class DeliveredFile(ApiModel):
    """A file that an attempt has uploaded."""

    name: Annotated[str, Field(max_length=64)]
    """Name of the file."""
    sha256: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 digest of the file."""
    bytes: int
    """Size in bytes."""


class Delivery(ApiModel):
    """The uploaded files of an attempt. Recorded before they are committed, so that no other attempt can be committed
    as well."""

    attempt: int
    """Number of the attempt."""
    files: Annotated[tuple[DeliveredFile, ...], Field(max_length=8)]
    """Uploaded files."""
    seconds: float
    """Length of the clip in seconds."""
    size: ShortText
    """WIDTHxHEIGHT in pixels."""
    fps: float
    """Frames per second."""


class PinnedStores(ApiModel):
    """Object stores of the model and the clip; an absent one is the operator's own store."""

    weights: ArtifactStore | None = None
    """Object store of the model."""
    clips: ArtifactStore | None = None
    """Object store of the clip and of its inputs."""
    folder: Uri | None = None
    """Folder of the model, if it is not a published one."""


class PinnedInput(ApiModel):
    """An input at the version that was current when the request was accepted."""

    name: Literal["input", "end", "mask"]
    """Field of the spec."""
    uri: Uri
    """Location in the object store."""
    etag: ShortText
    """ETag of that version."""
    bytes: Annotated[int, Field(ge=0)]
    """Size in bytes."""


class VideoGenerationStatus(ApiModel):
    """Observed state of a generation."""

    phase: GenerationPhase = "Pending"
    """Phase of the request."""
    observed_generation: int = 0
    """metadata.generation that this status was computed from."""
    conditions: Conditions = ()
    """Accepted, Scheduled, Running, Succeeded, Failed, Cancelled; for tools Ready, Reconciling, Stalled; and Refused
    (the API server refused an object that the operator wrote)."""
    queue_position: int | None = None
    """Requests of the same model that are ahead in the queue; 0 is next."""
    attempt: int = 0
    """Number of the current attempt; each assignment to a server is a new attempt."""
    failures: int = 0
    """Failed attempts that were not caused by the request itself; an attempt that a busy server turned down does not
    count."""
    server: ShortText | None = None
    """Pod that this attempt is assigned to."""
    server_uid: ShortText | None = None
    """UID of that pod."""
    progress: GenerationProgress | None = None
    """Progress of the clip."""
    delivery: Delivery | None = None
    """Files that are being committed; removed once they are."""
    video: VideoArtefact | None = None
    """The clip."""
    thumbnail: Artefact | None = None
    """Thumbnail (WebP)."""
    spritesheet: Artefact | None = None
    """Sprite sheet of all frames (WebP)."""
    seed: int | None = None
    """Seed of the clip."""
    expanded_prompt: LongText | None = None
    """The expanded prompt, which the model encodes instead of spec.prompt."""
    prompt: PromptStatus | None = None
    """How the model encoded the prompt."""
    model_digest: Digest | None = None
    """Digest of the model; fixed when the request is accepted."""
    stores: PinnedStores | None = None
    """Object stores of the model and the clip; fixed when the request is accepted, even if the VideoModel changes."""
    inputs: Annotated[tuple[PinnedInput, ...], Field(max_length=3)] = ()
    """Inputs of the request; fixed when the request is accepted."""
    stopping_since: datetime | None = None
    """When the server was first asked to stop."""
    cleaned: bool = False
    """True if the temporary files of the request (attempts, copies of inputs) have been deleted from the object
    store."""
    timings: Timings | None = None
    """Duration of each stage."""
    seams: Annotated[tuple[Seam, ...], Field(max_length=MAX_SEAMS)] = ()
    """Boundaries between input frames and generated frames."""
    warnings: Annotated[tuple[LongText, ...], Field(max_length=MAX_WARNINGS)] = ()
    """What may make the clip worse, such as a size that the model was not made for."""
    completion_time: datetime | None = None
    """When the request ended."""


class VideoGeneration(ApiModel):
    """A request for one clip."""

    metadata: ObjectMeta
    spec: VideoGenerationSpec
    status: VideoGenerationStatus = VideoGenerationStatus()
