"""From a request to frames: the shape of the clip, the check of memory, and rendering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinema_api.clip import DEFAULT_STRENGTHS, ClipRequest
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
from kinema_model.errors import ShapeError, TaskError
from kinema_model.pipeline import Pipeline
from kinema_model.streaming.stream import Shot, trained_streaming
from kinema_world.expansion import Expansion
from kinema_world.stored import texts_beside

OnStep = Callable[[int, int], None]
ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class ResolvedRequest:
    """A clip request with its seed and, if requested, its expanded prompt."""

    clip: ClipRequest
    seed: int
    expansion: Expansion | None = None
    """The expanded prompt that the model encodes instead of the prompt, if requested."""

    @property
    def heard(self) -> str:
        """The prompt that the model encodes."""
        return self.expansion.rich if self.expansion else self.clip.prompt

    @property
    def strength(self) -> float | None:
        """How strongly an edit or a blend changes its input; None: the task has no strength."""
        usual = DEFAULT_STRENGTHS.get(self.clip.task)
        return usual if self.clip.strength is None else self.clip.strength


@dataclass(frozen=True)
class OutputShape:
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


def check_size(request: ClipRequest) -> None:
    """Raise `ShapeError` for a size that no model's clips can have, since it cannot be encoded."""
    if request.size is not None:
        width, height = _parse_size(request.size)
        check_frame_size(height, width)


def output_shape(
    config: ModelConfig, request: ClipRequest, task: Task = Task.TEXT, input_size: tuple[int, int] | None = None
) -> OutputShape:
    """The clip that this model renders. Raises `ShapeError`, saying what it can do, and `TaskError` for shots.

    Without a requested size it is `input_size`, (height, width) in pixels, else the model's own.

    The number of frames is the nearest that is whole patches, so that a clip may differ from `seconds` by less
    than one patch of frames; a picture is one frame, whatever the seconds.
    """
    check_size(request)
    height, width = input_size or (config.height, config.width_px)
    if request.size is not None:
        width, height = _parse_size(request.size)
    _, rows, columns = config.grid.cell
    fps = config.rate(request.fps)
    if fps > MAX_FPS:
        raise ShapeError(f"This model's clips have more than {MAX_FPS} frames per second: use another model.")
    if height % rows or width % columns or max(height, width) > config.max_side:
        raise ShapeError(
            f"This model cannot render {width}x{height}: use a width in multiples of {columns} and a height in "
            f"multiples of {rows}, up to {config.max_side} pixels; its own size is "
            f"{config.width_px}x{config.height}."
        )
    check_frame_size(height, width)
    if request.shots:
        trained_streaming(config)
    if task is Task.PICTURE:
        return OutputShape(1, height, width, float(fps))
    lengths = (request.seconds, *(shot.seconds for shot in request.shots))
    frames = config.grid.frames_of(sum(config.rows_for(seconds, fps) for seconds in lengths))
    if frames < config.grid.frames_of(config.least_rows):
        raise ShapeError(f"This model cannot render {request.seconds:g} seconds: request at least {2 / fps:g}.")
    if frames > config.max_frames and config.streaming is None:
        raise ShapeError(
            f"This model cannot render {request.seconds:g} seconds: request at most {config.max_frames / fps:g}."
        )
    return OutputShape(frames, height, width, float(fps))


def _parse_size(size: str) -> tuple[int, int]:
    """WIDTHxHEIGHT -> (width, height)."""
    width, _, height = size.partition("x")
    return int(width), int(height)


def open_pipeline(folder: Path) -> Pipeline:
    """The model in `folder`, on the first GPU if there is one.

    Raises `BrokenArtefact`, naming the file; and before anything is loaded `ModelTooLarge` if the weights can never
    fit into memory, `MemoryShort` if they do not fit now.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # File sizes are close enough: beside tensors, files hold only a header of some kilobytes.
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    total, free = total_memory(device), free_memory(device)
    if total is not None and weights > total:
        raise ModelTooLarge(
            f"{folder}: the weights take {in_gib(weights)} of memory and there are {in_gib(total)} on {device.type}: "
            "give servers more in the VideoModel's spec.serving.resources, or use a smaller model."
        )
    if free is not None and weights > free:
        raise MemoryShort(
            f"{folder}: the weights take {in_gib(weights)} of memory and {in_gib(free)} are free on {device.type} now: "
            "try again, or give servers more in the VideoModel's spec.serving.resources."
        )
    return Pipeline(folder, device=device, texts=texts_beside)


def require_memory(config: ModelConfig, request: ClipRequest, shape: OutputShape, device: torch.device) -> None:
    """Raise `ShapeError` for a clip that can never fit into memory, `MemoryShort` for one that does not fit now.

    The estimate is a lower bound: the feed-forward of one block, in and out, of all tokens that are denoised
    together (twice with guidance), and the finished clip.
    """
    network, total, free = config.network, total_memory(device), free_memory(device)
    frames = shape.frames
    if config.streaming is not None and _streams(config, request, shape):
        frames = min(frames, config.streaming.chunk_frames)
    tokens = config.grid.tokens(frames, shape.height, shape.width)
    halves = 1 if request.guidance_scale == NO_GUIDANCE else 2
    need = 8 * tokens * halves * (network.width + network.ffn_dim) + 3 * shape.frames * shape.height * shape.width
    clip = f"A clip of {shape.size} with {shape.frames} frames needs at least {in_gib(need)} of memory and"
    if total is not None and need > total:
        raise ShapeError(f"{clip} there are {in_gib(total)}: request a smaller size or fewer seconds.")
    if free is not None and need > free:
        raise MemoryShort(f"{clip} {in_gib(free)} are free now: try again, or request a smaller size or fewer seconds.")


@dataclass(frozen=True)
class Rendered:
    """A clip uint8 (T, H, W, 3), and how well it meets its inputs at their seams."""

    video: Video
    seams: tuple[Seam, ...] = ()


def render(
    pipeline: Pipeline,
    request: ResolvedRequest,
    work: Work,
    shape: OutputShape,
    on_step: OnStep,
    should_stop: ShouldStop,
) -> Rendered:
    """Denoise and decode one clip.

    Raises `SamplingStopped` before the next step, `TaskError` for a task that the model was not trained
    for, `ShapeError` for inputs that do not fit and for a clip that can never fit into memory, `MemoryShort` for one
    that does not fit now.
    """
    check_task(work.task, pipeline.config.tasks)
    if request.clip.shots and work.task is not Task.TEXT:
        raise TaskError(f"Shots go with the task text alone. Remove them or the task {work.task.value!r}.")
    if request.clip.strength is not None and work.task not in WEAKENED_TASKS:
        raise TaskError(f"{work.task.value!r} takes no strength. Remove it, or use edit or blend.")
    require_memory(pipeline.config, request.clip, shape, pipeline.device)
    try:
        return _rendered(pipeline, request, work, shape, on_step, should_stop)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if pipeline.device.type == "cuda":
            torch.cuda.empty_cache()
        raise MemoryShort(
            "The clip does not fit into memory now: try again, or request a smaller size or fewer seconds."
        ) from None


def _rendered(
    pipeline: Pipeline,
    request: ResolvedRequest,
    work: Work,
    shape: OutputShape,
    on_step: OnStep,
    should_stop: ShouldStop,
) -> Rendered:
    how: dict[str, Any] = {
        "seed": request.seed,
        "frames": shape.frames,
        "height": shape.height,
        "width": shape.width,
        "fps": request.clip.fps,
        "steps": request.clip.steps,
        "guidance_scale": request.clip.guidance_scale,
        "negative_prompt": request.clip.negative_prompt or "",
        "on_step": on_step,
        "should_stop": should_stop,
    }
    if work.task is Task.TEXT and _streams(pipeline.config, request.clip, shape):
        del how["frames"]
        return Rendered(np.concatenate(list(pipeline.stream(_shots(request), **how))))
    if work.task in (Task.TEXT, Task.PICTURE):
        return Rendered(pipeline.generate(request.heard, **how))
    inputs = work.task_inputs(shape.frames, shape.height, shape.width, shape.fps)
    done = pipeline.complete(work.task, request.heard, inputs=inputs, strength=request.strength, **how)
    return Rendered(done.video, done.seams)


def _streams(config: ModelConfig, request: ClipRequest, shape: OutputShape) -> bool:
    """Whether a clip without inputs is generated chunk by chunk."""
    return bool(request.shots) or shape.frames > config.max_frames


def _shots(request: ResolvedRequest) -> list[Shot]:
    first = Shot(request.heard, request.clip.seconds)
    return [first, *(Shot(shot.prompt, shot.seconds, shot.like or 0) for shot in request.clip.shots)]


def request_record(request: ResolvedRequest, work: Work, shape: OutputShape, rendered: Rendered) -> dict[str, Any]:
    """Content of request.json: all that is needed to make the same clip again with the same model."""
    return {
        "task": work.task.value,
        "inputs": {name: sha256_of(clip.path) for name, clip in work.clips.items()},
        "inputSeconds": work.input_seconds,
        "maskRegion": work.region.to_wire() if work.region else None,
        "strength": request.clip.strength,
        "shots": [shot.to_wire() for shot in request.clip.shots],
        "seams": [asdict(seam) for seam in rendered.seams],
        "prompt": request.clip.prompt,
        "expandedPrompt": request.expansion.rich if request.expansion else None,
        "expansion": request.expansion.how if request.expansion else None,
        "negativePrompt": request.clip.negative_prompt,
        "seed": request.seed,
        "steps": request.clip.steps,
        "guidanceScale": request.clip.guidance_scale,
        "frames": shape.frames,
        "fps": shape.fps,
        "seconds": shape.seconds,
        "size": shape.size,
    }
