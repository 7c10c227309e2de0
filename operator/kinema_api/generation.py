"""VideoGeneration: one clip, asked for as a resource and left as a durable MP4."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from kinema_api.base import (
    MAX_KEPT_SECONDS,
    ApiModel,
    ArtifactStore,
    ClipSize,
    Conditions,
    Digest,
    LongText,
    ObjectMeta,
    ResourceName,
    ShortText,
    Uri,
    Worded,
    cel_rules,
    store_unchanged,
)
from kinema_api.inputs import TASK_RULES, ClipInput, Mask, TaskName

KIND: Final = "VideoGeneration"
PLURAL: Final = "videogenerations"
MAX_SEAMS: Final = 4
MAX_SHOTS: Final = 16
DEFAULT_STEPS: Final = 16
DEFAULT_GUIDANCE_SCALE: Final = 2.0
"""As kinema_model.pipeline has them, by which models are measured."""
MAX_SECONDS: Final = 60
MAX_UNSEEN_WORDS: Final = 32
MAX_FRAMES: Final = 1_000_000
MAX_PROMPT_CHARACTERS: Final = 4096

GenerationPhase = Literal["Pending", "Scheduled", "Running", "Succeeded", "Failed", "Cancelled"]
IMMUTABLE: Final = (
    "modelRef",
    "prompt",
    "negativePrompt",
    "expandPrompt",
    "shots",
    "task",
    "input",
    "inputSeconds",
    "end",
    "mask",
    "strength",
    "seed",
    "seconds",
    "size",
    "fps",
    "steps",
    "guidanceScale",
    "deadlineSeconds",
    "retentionSeconds",
    "ttlSecondsAfterFinished",
)


class ModelRef(ApiModel):
    """A VideoModel of the same namespace."""

    name: ResourceName
    """Name of the VideoModel."""


SHOT_RULES: Final = (
    ("self.shots.size() == 0 || self.task == 'text'", "shots are made from words alone: remove task or shots"),
    (
        "self.shots.size() == 0 || !self.expandPrompt",
        "expandPrompt is for a clip of one shot: say each shot at length, or remove shots",
    ),
    (
        f"self.seconds + self.shots.map(s, double(s.seconds)).sum() <= {MAX_SECONDS}.0",
        f"all shots together may last {MAX_SECONDS} seconds: shorten some",
    ),
)

Prompt = Annotated[
    str,
    Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS),
    Worded(r"[^\s\p{Z}\p{C}]", "the prompt is blank: say what the clip shows, such as: a red square moves right"),
]


class Shot(ApiModel):
    """A shot that follows the first one."""

    prompt: Prompt
    """What it shows; at most 4096 characters."""
    seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)]
    """Its length."""
    like: Annotated[int, Field(ge=0, le=MAX_SHOTS)] | None = None
    """The shot whose beginning stays in sight, so that what was there looks the same when it comes back: 0 is the
    first one; its own number: none. Default: the first."""


class VideoGenerationSpec(ApiModel):
    """What clip is asked for."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            *(
                (
                    f"has(self.{f}) == has(oldSelf.{f}) && (!has(self.{f}) || self.{f} == oldSelf.{f})",
                    f"{f} cannot change once asked for: create another VideoGeneration",
                )
                for f in IMMUTABLE
            ),
            (
                store_unchanged("artifactStore"),
                "artifactStore cannot change once asked for: create another VideoGeneration, or change its caBundle "
                "alone",
            ),
            (
                "!oldSelf.cancel || self.cancel",
                "a cancelled generation stays cancelled: create another VideoGeneration",
            ),
            *TASK_RULES,
            *SHOT_RULES,
        )
    )

    model_ref: ModelRef
    """The model that renders the clip."""
    prompt: Prompt
    """What the clip shows; at most 4096 characters, of which the model hears the first 128 tokens (about 100 English
    words). What it did not hear, and words that it was not trained on, are told in status.prompt."""
    negative_prompt: Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)] | None = None
    """What the clip should not show."""
    expand_prompt: bool = False
    """True: a short prompt is said at length before the model hears it, by the operator's language model if it has one,
    else by the world's own rule. What the model heard is in status.expandedPrompt."""
    task: TaskName = "text"
    """What is made. text: a clip from words alone. picture: one frame from words alone; seconds mean nothing. image: it
    begins with the input's first frame. extend: it begins with the last of the input. extend-back: it ends with the
    first of it. fill: it leads from the input's last frame to the first of end. loop: it begins with the input's first
    frame and comes back to it. inpaint: the input with what mask marks made anew. edit: the input changed to what the
    prompt says. blend: it turns from input to end."""
    input: ClipInput | None = None
    """The clip or picture that the task works on."""
    input_seconds: Annotated[float, Field(gt=0, le=60)] | None = None
    """How much of the input an extended clip shows; default: half of the clip's length."""
    end: ClipInput | None = None
    """Where fill and blend lead to."""
    mask: Mask | None = None
    """What inpaint makes anew."""
    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    """How little of its input an edit or a blend keeps; default: 0.7 for edit, 0.85 for blend."""
    seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 1
    """Length of the clip with what it is given, or of its first shot. A model that was trained to stream makes up to
    60 seconds, others what their config allows."""
    shots: Annotated[tuple[Shot, ...], Field(max_length=MAX_SHOTS)] = ()
    """Shots that follow the first one, which is `prompt` for `seconds`; of a model that was trained to stream."""
    size: ClipSize | None = None
    """WIDTHxHEIGHT in pixels, such as 24x24; default: the input's, else the model's own."""
    fps: Annotated[int, Field(ge=1, le=60)] | None = None
    """Frames per second, one of those that the model was trained at; default: the model's own."""
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None
    """The same seed, model and parameters give the same clip; default: chosen, and recorded in status."""
    steps: Annotated[int, Field(ge=1, le=200)] = DEFAULT_STEPS
    """Denoising steps."""
    guidance_scale: Annotated[float, Field(ge=1, le=30)] = DEFAULT_GUIDANCE_SCALE
    """How closely the clip follows the prompt; 1 is no guidance."""
    deadline_seconds: Annotated[int, Field(ge=1, le=86400)] = 3600
    """Seconds from creation after which the request fails rather than waits."""
    cancel: bool = False
    """True stops the request."""
    retention_seconds: Annotated[int, Field(ge=0, le=MAX_KEPT_SECONDS)] | None = None
    """Seconds after its end for which the clip is kept in the object store; default: for ever."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=MAX_KEPT_SECONDS)] | None = None
    """Seconds after its end after which this resource is deleted; where retentionSeconds is longer, after that. The
    clip stays as long as retentionSeconds says. Default: never."""
    artifact_store: ArtifactStore | None = None
    """Object store for the clip; default: the model's, else the operator's."""


class GenerationProgress(ApiModel):
    """How far a clip is."""

    stage: Annotated[str, Field(max_length=16)] | None = None
    """What the server does: loading, denoising or encoding."""
    moved: datetime | None = None
    """When it was last seen to get further."""
    step_seconds: float | None = None
    """The longest denoising step of this attempt so far, in seconds."""

    step: int = 0
    """Denoising steps done."""
    total_steps: int = 0
    """Denoising steps in all."""
    percent: int = 0
    """0 to 100."""


class Artefact(ApiModel):
    """A committed file of a generation."""

    uri: Uri
    """Where it lies in the object store."""
    url: Annotated[str, Field(max_length=4096)] | None = None
    """A signed address, which opens for whoever reads it until `urlExpires`: only where KINEMA_STATUS_URLS puts it
    here. `kinema download` asks for one."""
    url_expires: datetime | None = None
    """When the signed address ends."""
    sha256: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")]
    """Digest of the bytes."""
    bytes: int
    """Length."""


class VideoArtefact(Artefact):
    """The committed clip."""

    seconds: float
    """Length of the clip."""
    size: ShortText
    """WIDTHxHEIGHT in pixels."""
    fps: float = 0
    """Frames a second."""


class Timings(ApiModel):
    """Where the seconds went."""

    queued_seconds: float | None = None
    """From creation to the start on a server."""
    load_seconds: float | None = None
    """Loading the model, when this request had to."""
    denoise_seconds: float | None = None
    """Denoising."""
    encode_seconds: float | None = None
    """Decoding latents, encoding and uploading."""


Brightness = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Seam(ApiModel):
    """Where what was given meets what was made, in mean absolute brightness from 0 to 1, before anything is pasted."""

    frame: Annotated[int, Field(ge=0, le=MAX_FRAMES)]
    """The first frame after it."""
    jump: Brightness
    """From one side to the other."""
    usual: Brightness
    """Between neighbouring frames that were made."""


class PromptHeard(ApiModel):
    """What the model heard of the prompt."""

    tokens: int = 0
    """Tokens that it heard."""
    limit: int = 0
    """The most that it can hear."""
    cut: LongText | None = None
    """The end of the prompt that it did not hear."""
    unseen_words: Annotated[tuple[ShortText, ...], Field(max_length=MAX_UNSEEN_WORDS)] = ()
    """Words of the prompt that it was not trained on, the first ones: it draws nothing of them."""


class DeliveredFile(ApiModel):
    """A file that an attempt left in the object store."""

    name: Annotated[str, Field(max_length=64)]
    """Its name."""
    sha256: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")]
    """Digest of the bytes."""
    bytes: int
    """Length."""


class Delivery(ApiModel):
    """What an attempt left: fixed before it is committed, so that no other attempt is committed beside it."""

    attempt: int
    """The attempt."""
    files: Annotated[tuple[DeliveredFile, ...], Field(max_length=8)]
    """Its files."""
    seconds: float
    """Length of the clip."""
    size: ShortText
    """WIDTHxHEIGHT in pixels."""
    fps: float
    """Frames a second."""


class PinnedStores(ApiModel):
    """Where the weights and the clip lie; what is absent lies in the operator's own store."""

    weights: ArtifactStore | None = None
    """Object store of the model."""
    clips: ArtifactStore | None = None
    """Object store of the clip and of what it is made from."""


class PinnedInput(ApiModel):
    """What a request was given, as it was when the request was accepted."""

    name: Literal["input", "end", "mask"]
    """The field of the spec."""
    uri: Uri
    """Where it lay."""
    etag: ShortText
    """The object store's name of that version."""
    bytes: Annotated[int, Field(ge=0)]
    """Length."""


class VideoGenerationStatus(ApiModel):
    """What was seen of a generation."""

    phase: GenerationPhase = "Pending"
    """Where the request stands."""
    observed_generation: int = 0
    """Generation of the spec that this status speaks of."""
    conditions: Conditions = ()
    """Accepted, Scheduled, Running, Succeeded, Failed, Cancelled; for
    tools Ready, Reconciling, Stalled, and Refused (an object that the API server does not take)."""
    queue_position: int | None = None
    """Requests of the same model that are served before this one; 0 is next."""
    attempt: int = 0
    """Number of the attempt; each server that is asked gets its own."""
    failures: int = 0
    """Attempts that failed for reasons that are not the request's own; a server that was busy is not one."""
    server: ShortText | None = None
    """Pod that this attempt was given to."""
    server_uid: ShortText | None = None
    """UID of that pod."""
    progress: GenerationProgress | None = None
    """How far the clip is."""
    delivery: Delivery | None = None
    """What is being committed; gone once it is."""
    video: VideoArtefact | None = None
    """The clip."""
    thumbnail: Artefact | None = None
    """A still, WebP."""
    spritesheet: Artefact | None = None
    """All frames on one sheet, WebP."""
    seed: int | None = None
    """The seed that is used."""
    expanded_prompt: LongText | None = None
    """What the model heard in place of the prompt."""
    prompt: PromptHeard | None = None
    """What the model heard of the prompt."""
    model_digest: Digest | None = None
    """The model that is used; fixed when the request is accepted."""
    stores: PinnedStores | None = None
    """Where the model and the clip lie; fixed when the request is accepted, whatever becomes of the VideoModel."""
    inputs: Annotated[tuple[PinnedInput, ...], Field(max_length=3)] = ()
    """What the request works on; fixed when it is accepted."""
    stopping_since: datetime | None = None
    """When its server was first told to stop."""
    cleaned: bool = False
    """Nothing is left in the object store of it but the clip: neither attempts nor copies of inputs."""
    timings: Timings | None = None
    """Where the seconds went."""
    seams: Annotated[tuple[Seam, ...], Field(max_length=MAX_SEAMS)] = ()
    """How well what was made meets what was given."""
    completion_time: datetime | None = None
    """When the request ended."""


class VideoGeneration(ApiModel):
    """Renders one clip and keeps it."""

    metadata: ObjectMeta
    spec: VideoGenerationSpec
    status: VideoGenerationStatus = VideoGenerationStatus()
