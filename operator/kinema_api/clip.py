"""The parameters of a clip: every field of a request with its limit and its default, declared once.

The resource (kinema_api.generation), the work order (kinema_api.wire), the commands (kinema_api.clip_options) and the
renderer take them from here.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kinema_api.base import MESSAGE_ERROR, ApiModel, ClipSize, Matches
from kinema_api.inputs import ClipInput, Mask, TaskName

DEFAULT_STEPS: Final = 16
DEFAULT_GUIDANCE_SCALE: Final = 2.0
"""Of models that Kinema trained; a test checks that kinema_model evaluates them with the same two values."""
DEFAULT_SECONDS: Final = 1.0
"""Of models that Kinema trained."""
EDIT_STRENGTH: Final = 0.7
BLEND_STRENGTH: Final = 0.85
DEFAULT_STRENGTHS: Final[dict[TaskName, float]] = {"edit": EDIT_STRENGTH, "blend": BLEND_STRENGTH}
MAX_PROMPT_CHARACTERS: Final = 4096
MAX_SECONDS: Final = 60
MAX_SHOTS: Final = 16
MAX_FPS: Final = 60
MAX_STEPS: Final = 200
MAX_GUIDANCE_SCALE: Final = 30
MAX_SEED: Final = 2**53 - 1
"""The largest integer that every JSON parser keeps exactly."""

TOO_LONG: Final = f"all shots together are longer than {MAX_SECONDS} seconds: shorten some"
SHOT_RULES: Final = (
    ("self.shots.size() == 0 || self.task == 'text'", "shots go with task text alone: remove task or shots"),
    (
        "self.shots.size() == 0 || !self.expandPrompt",
        "expandPrompt expands a clip of one shot: write each shot's prompt in full, or remove shots",
    ),
    (
        f"(has(self.seconds) ? double(self.seconds) : {DEFAULT_SECONDS}) + "
        f"self.shots.map(s, double(s.seconds)).sum() <= {MAX_SECONDS}.0",
        TOO_LONG,
    ),
)
"""CEL rules of a VideoGeneration's spec, beside those of kinema_api.inputs."""

Prompt = Annotated[
    str,
    Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS),
    Matches(r"[^\s\p{Z}\p{Cc}\p{Cf}]", "the prompt is blank: describe the clip, such as: a red square moves right"),
]
GuidanceScale = Annotated[float, Field(ge=1, le=MAX_GUIDANCE_SCALE)]
Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS)]
FrameRate = Annotated[int, Field(ge=1, le=MAX_FPS)]
"""Frames per second."""


class Shot(ApiModel):
    """A shot after the first one."""

    prompt: Prompt
    """What the shot shows; at most 4096 characters."""
    seconds: Seconds
    """Length of the shot in seconds."""
    like: Annotated[int, Field(ge=0, le=MAX_SHOTS)] | None = None
    """Number of the shot whose reference frames this shot attends to, so that its objects look the same; 0 is the first
    shot, the shot's own number means none. Default: 0."""


class ClipRequest(ApiModel):
    """The clip to render, without the model and the files that it is made of."""

    prompt: Prompt
    """What the clip shows; at most 4096 characters. The model encodes the first 128 tokens (about 100 English words),
    open weights the first 512. status.prompt reports what was cut off and which words the model was not trained on."""
    negative_prompt: Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)] | None = None
    """What the clip should not show."""
    expand_prompt: bool = False
    """Expand a short prompt before rendering, with the operator's language model if one is configured, else with the
    built-in rules, which open weights do not have. status.expandedPrompt reports the expanded prompt."""
    task: TaskName = "text"
    """What to make. text: a clip from the prompt alone. picture: one frame from the prompt alone; seconds is ignored.
    image: a clip that begins with the input's first frame. extend: a clip that continues the input. extend-back: a clip
    that leads up to the input. fill: a clip from the input's last frame to the first frame of end. loop: a clip that
    begins and ends with the input's first frame. inpaint: the input with the masked region regenerated. edit: the
    input, changed to match the prompt. blend: a transition from input to end."""
    input_seconds: Seconds | None = None
    """Seconds of the input that an extended clip contains; default: half of the clip's length."""
    strength: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Edit strength in (0, 1]; 1 ignores the input. "
        f"Default: {EDIT_STRENGTH} for edit, {BLEND_STRENGTH} for blend.",
    )
    seconds: Seconds | None = Field(
        default=None,
        description="Length of the clip in seconds, including the frames taken from the input; with shots, length of "
        "the first shot. A streaming model renders up to 60 seconds, other models up to the limit of their "
        f"configuration. Default: {DEFAULT_SECONDS:g}, or the length that open weights were made for.",
    )
    shots: Annotated[tuple[Shot, ...], Field(max_length=MAX_SHOTS)] = ()
    """Shots after the first one, which is `prompt` for `seconds`. Requires a streaming model."""
    size: ClipSize | None = None
    """WIDTHxHEIGHT in pixels, such as 24x24; default: the size of the input, else the model's configured size."""
    fps: FrameRate | None = None
    """Frames per second, one of the rates that the model was trained at; default: the model's configured rate."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    """Random seed; the same seed, model and parameters give the same clip. Default: chosen at random and reported in
    status.seed."""
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = Field(
        default=None,
        description=f"Denoising steps. Default: {DEFAULT_STEPS}, or the number that open weights were published with.",
    )
    guidance_scale: GuidanceScale | None = Field(
        default=None,
        description="Scale of classifier-free guidance; higher values follow the prompt more closely, 1 disables "
        f"guidance. Default: {DEFAULT_GUIDANCE_SCALE:g}, or the scale that open weights were published with.",
    )
    guidance_scale_2: GuidanceScale | None = None
    """Guidance of the low-noise expert of models with two. Default: guidanceScale, or the scale that the weights were
    published with."""

    @model_validator(mode="after")
    def _short_enough(self) -> Self:
        first = DEFAULT_SECONDS if self.seconds is None else self.seconds
        if sum((shot.seconds for shot in self.shots), first) > MAX_SECONDS:
            raise PydanticCustomError(MESSAGE_ERROR, TOO_LONG)
        return self

    def asked(self) -> dict[str, Any]:
        """The fields of the clip by their Python names, without the fields of a subclass."""
        return {name: getattr(self, name) for name in ClipRequest.model_fields}


class ClipSpec(ClipRequest):
    """The clip to render and its inputs."""

    input: ClipInput | None = None
    """The clip or image that the task works on."""
    end: ClipInput | None = None
    """The clip or image that fill and blend lead to."""
    mask: Mask | None = None
    """The region that inpaint regenerates."""
