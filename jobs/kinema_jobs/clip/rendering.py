"""From a request to a clip: the one path that a server and `kinema generate --local` share."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from kinema_api.base import SIZE_PATTERN
from kinema_api.generation import MAX_PROMPT_CHARACTERS, MAX_SECONDS, Shot
from kinema_api.inputs import WEAKENED_TASKS
from kinema_jobs.clip.inputs import Work
from kinema_jobs.clip.media import MAX_FPS, Video, check_frame_size
from kinema_jobs.errors import MemoryShort, ModelTooLarge
from kinema_jobs.memory import free_memory, in_gib, is_out_of_memory, total_memory
from kinema_jobs.model_folder import sha256_of
from kinema_model.conditions.conditioning import Seam
from kinema_model.conditions.tasks import Task, check_task
from kinema_model.config import ModelConfig
from kinema_model.diffusion.sampler import NO_GUIDANCE
from kinema_model.errors import PromptError, ShapeError, TaskError
from kinema_model.pipeline import Pipeline
from kinema_model.streaming.stream import Shot as StreamShot
from kinema_model.streaming.stream import trained_streaming
from kinema_world.expansion import Expansion

MAX_STEPS: Final = 200
MAX_SEED: Final = 2**53 - 1
_UNSEEN: Final = ("Zs", "Zl", "Zp", "Cc", "Cf", "Cs")
"""Categories of Unicode that show nothing."""
GUIDANCE: Final = (1.0, 30.0)
OnStep = Callable[[int, int], None]
ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class ClipRequest:
    """What clip is asked for, apart from the model."""

    prompt: str
    negative_prompt: str | None
    seconds: float
    size: str | None
    """WIDTHxHEIGHT in pixels; None: the model's own."""
    seed: int
    steps: int
    guidance_scale: float
    expansion: Expansion | None = None
    """What the model hears in place of the prompt, where that was asked for."""
    shots: tuple[Shot, ...] = ()
    """What follows the prompt's own seconds."""
    fps: int | None = None
    """Frames per second; None: the model's own."""
    strength: float | None = None
    """How little of its input an edit or a blend keeps; None: as usual for the task."""

    @property
    def heard(self) -> str:
        """The words that the model is given."""
        return self.expansion.rich if self.expansion else self.prompt


@dataclass(frozen=True)
class ClipShape:
    """A clip's extent: frames, pixels, frames per second."""

    frames: int
    height: int
    width: int
    fps: float

    @property
    def seconds(self) -> float:
        """Exact length of the clip."""
        return self.frames / self.fps

    @property
    def size(self) -> str:
        """WIDTHxHEIGHT."""
        return f"{self.width}x{self.height}"


def check_request(request: ClipRequest) -> None:
    """Refuse what no model can render. Raises `PromptError` or `ShapeError`; neither repeats the prompt."""
    for what, text in (("prompt", request.prompt), ("negative prompt", request.negative_prompt or "")):
        if len(text) > MAX_PROMPT_CHARACTERS:
            raise PromptError(f"The {what} has {len(text)} characters: shorten it to at most {MAX_PROMPT_CHARACTERS}.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise PromptError(f"The {what} holds half of a surrogate pair, which is no text: remove it.")
    # No stricter than the API server: which characters are assigned at all depends on the age of the tables.
    if all(unicodedata.category(character) in _UNSEEN for character in request.prompt):
        raise PromptError("The prompt is empty: say what the clip should show.")
    if not 1 <= request.steps <= MAX_STEPS:
        raise ShapeError(f"{request.steps} denoising steps cannot be served: use 1 to {MAX_STEPS}.")
    if not 0 <= request.seed <= MAX_SEED:
        raise ShapeError(f"The seed {request.seed} cannot be served: choose one from 0 to {MAX_SEED}.")
    if not GUIDANCE[0] <= request.guidance_scale <= GUIDANCE[1]:
        raise ShapeError(f"The guidance scale must lie between {GUIDANCE[0]:g} and {GUIDANCE[1]:g}: change it.")
    if request.strength is not None and not 0 < request.strength <= 1:
        raise ShapeError(f"A strength of {request.strength:g} cannot be served: use more than 0 and at most 1.")
    seconds = sum((shot.seconds for shot in request.shots), request.seconds)
    if not 0 < seconds <= MAX_SECONDS:
        raise ShapeError(
            f"A clip of {seconds:g} seconds cannot be served: ask for more than 0 and at most {MAX_SECONDS}."
        )
    if request.size is not None:
        width, height = _parse_size(request.size)
        check_frame_size(height, width)


def clip_shape(
    config: ModelConfig, request: ClipRequest, task: Task = Task.TEXT, given: tuple[int, int] | None = None
) -> ClipShape:
    """The clip that this model renders. Raises `ShapeError`, saying what it can do, and `TaskError` for shots.

    Without a size it is that of what is `given`, (height, width), else the model's own.

    The number of frames is the nearest that is whole patches, so that a clip may differ from `seconds` by less
    than one patch of frames; a picture is one frame, whatever the seconds.
    """
    height, width = given or (config.height, config.width_px)
    if request.size is not None:
        width, height = _parse_size(request.size)
    _, patch_h, patch_w = config.patch
    fps = config.rate(request.fps)
    if fps > MAX_FPS:
        raise ShapeError(f"This model's clips have more than {MAX_FPS} frames a second: name another model.")
    if height % patch_h or width % patch_w or max(height, width) > config.max_side:
        raise ShapeError(
            f"This model cannot render {width}x{height}: use a width in multiples of {patch_w} and a height in "
            f"multiples of {patch_h}, up to {config.max_side} pixels; its own size is "
            f"{config.width_px}x{config.height}."
        )
    check_frame_size(height, width)
    if request.shots:
        trained_streaming(config)
    if task is Task.PICTURE:
        return ClipShape(1, height, width, float(fps))
    lengths = (request.seconds, *(shot.seconds for shot in request.shots))
    frames = sum(config.rows_for(seconds, fps) for seconds in lengths) * config.patch[0]
    if frames < config.least_rows * config.patch[0]:
        raise ShapeError(f"This model cannot render {request.seconds:g} seconds: ask for at least {2 / fps:g}.")
    if frames > config.max_frames and config.streaming is None:
        raise ShapeError(
            f"This model cannot render {request.seconds:g} seconds: ask for at most {config.max_frames / fps:g}."
        )
    return ClipShape(frames, height, width, float(fps))


def _parse_size(size: str) -> tuple[int, int]:
    """WIDTHxHEIGHT -> (width, height)."""
    if not re.fullmatch(SIZE_PATTERN, size):
        raise ShapeError("The size is not WIDTHxHEIGHT in pixels: write it like 24x24.")
    width, _, height = size.partition("x")
    return int(width), int(height)


def open_pipeline(folder: Path) -> Pipeline:
    """The model in `folder`, on the first GPU if there is one.

    Raises `BrokenArtefact`, naming the file, and before anything is loaded `ModelTooLarge` where there can never be
    room, `MemoryShort` where there is none now.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # Whole files: beside tensors they hold a header of some kilobytes.
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    total, free = total_memory(device), free_memory(device)
    if total is not None and weights > total:
        raise ModelTooLarge(
            f"{folder}: the weights take {in_gib(weights)} of memory and there are {in_gib(total)} on {device.type}: "
            "give servers more in the VideoModel's spec.serving.resources, or name a smaller model."
        )
    if free is not None and weights > free:
        raise MemoryShort(
            f"{folder}: the weights take {in_gib(weights)} of memory and {in_gib(free)} are free on {device.type} now: "
            "try again, or give servers more in the VideoModel's spec.serving.resources."
        )
    return Pipeline(folder, device=device)


def require_memory(config: ModelConfig, request: ClipRequest, shape: ClipShape, device: torch.device) -> None:
    """Refuse a clip that cannot be held. Raises `ShapeError` where it never can, `MemoryShort` where it cannot now.

    What is counted is a lower bound: the feed-forward of one block, in and out, of all tokens that are denoised
    together (twice with guidance), and the finished clip.
    """
    network, total, free = config.network, total_memory(device), free_memory(device)
    frames = shape.frames
    if config.streaming is not None and _streams(config, request, shape):
        frames = min(frames, config.streaming.chunk_frames)
    tokens = (frames // config.patch[0]) * (shape.height // config.patch[1]) * (shape.width // config.patch[2])
    halves = 1 if request.guidance_scale == NO_GUIDANCE else 2
    need = 8 * tokens * halves * (network.width + network.ffn_dim) + 3 * shape.frames * shape.height * shape.width
    clip = f"A clip of {shape.size} with {shape.frames} frames needs at least {in_gib(need)} of memory and"
    if total is not None and need > total:
        raise ShapeError(f"{clip} there are {in_gib(total)}: ask for a smaller size or fewer seconds.")
    if free is not None and need > free:
        raise MemoryShort(f"{clip} {in_gib(free)} are free now: try again, or ask for a smaller size or fewer seconds.")


@dataclass(frozen=True)
class Rendered:
    """A clip uint8 (T, H, W, 3), and how well it met what it was given."""

    video: Video
    seams: tuple[Seam, ...] = ()


def render(
    pipeline: Pipeline, request: ClipRequest, work: Work, shape: ClipShape, on_step: OnStep, should_stop: ShouldStop
) -> Rendered:
    """Denoise and decode one clip.

    Raises `SamplingStopped` before the step that is not taken, `TaskError` for a task that the model was not trained
    for, `ShapeError` for inputs that do not fit and for a clip that can never fit into memory, `MemoryShort` for one
    that found no room at this moment.
    """
    check_task(work.task, pipeline.config.tasks)
    if request.shots and work.task is not Task.TEXT:
        raise TaskError(f"Shots are made from words alone. Remove them or the task {work.task.value!r}.")
    if request.strength is not None and work.task not in WEAKENED_TASKS:
        raise TaskError(f"{work.task.value!r} takes no strength. Remove it, or name edit or blend.")
    require_memory(pipeline.config, request, shape, pipeline.device)
    try:
        return _rendered(pipeline, request, work, shape, on_step, should_stop)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if pipeline.device.type == "cuda":
            torch.cuda.empty_cache()
        raise MemoryShort(
            "The clip does not fit into memory now: try again, or ask for a smaller size or fewer seconds."
        ) from None


def _rendered(
    pipeline: Pipeline, request: ClipRequest, work: Work, shape: ClipShape, on_step: OnStep, should_stop: ShouldStop
) -> Rendered:
    how: dict[str, Any] = {
        "seed": request.seed,
        "frames": shape.frames,
        "height": shape.height,
        "width": shape.width,
        "fps": request.fps,
        "steps": request.steps,
        "guidance_scale": request.guidance_scale,
        "negative_prompt": request.negative_prompt or "",
        "on_step": on_step,
        "should_stop": should_stop,
    }
    if work.task is Task.TEXT and _streams(pipeline.config, request, shape):
        del how["frames"]
        return Rendered(np.concatenate(list(pipeline.stream(_shots(request), **how))))
    if work.task in (Task.TEXT, Task.PICTURE):
        return Rendered(pipeline.generate(request.heard, **how))
    given = work.given(shape.frames, shape.height, shape.width, shape.fps)
    done = pipeline.complete(work.task, request.heard, given=given, strength=request.strength, **how)
    return Rendered(done.video, done.seams)


def _streams(config: ModelConfig, request: ClipRequest, shape: ClipShape) -> bool:
    """Whether a clip of words alone is made chunk after chunk."""
    return bool(request.shots) or shape.frames > config.max_frames


def _shots(request: ClipRequest) -> list[StreamShot]:
    first = StreamShot(request.heard, request.seconds)
    return [first, *(StreamShot(shot.prompt, shot.seconds, shot.like or 0) for shot in request.shots)]


def request_record(
    request: ClipRequest, work: Work, shape: ClipShape, rendered: Rendered, model_digest: str | None
) -> dict[str, Any]:
    """What request.json says: all that is needed to make the same clip again."""
    return {
        "task": work.task.value,
        "inputs": {name: sha256_of(footage.path) for name, footage in work.footage.items()},
        "inputSeconds": work.input_seconds,
        "maskRegion": work.region.to_wire() if work.region else None,
        "strength": request.strength,
        "shots": [shot.to_wire() for shot in request.shots],
        "seams": [asdict(seam) for seam in rendered.seams],
        "prompt": request.prompt,
        "expandedPrompt": request.expansion.rich if request.expansion else None,
        "expansion": request.expansion.how if request.expansion else None,
        "negativePrompt": request.negative_prompt,
        "seed": request.seed,
        "steps": request.steps,
        "guidanceScale": request.guidance_scale,
        "frames": shape.frames,
        "fps": shape.fps,
        "seconds": shape.seconds,
        "size": shape.size,
        "modelDigest": model_digest,
    }
