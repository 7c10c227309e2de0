"""Models that Kinema trained: the shape of a clip, the check of memory, and rendering."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from kinema_api.clip import DEFAULT_GUIDANCE_SCALE, DEFAULT_SECONDS, DEFAULT_STEPS, ClipRequest
from kinema_api.inputs import WEAKENED_TASKS
from kinema_api.wire import EncodedPrompt
from kinema_jobs.clip.inputs import Work
from kinema_jobs.clip.media import MAX_FPS, check_frame_size
from kinema_jobs.clip.model import (
    Defaults,
    OnStep,
    OutputShape,
    Rendered,
    ResolvedRequest,
    ShouldStop,
    check_size,
    parse_size,
)
from kinema_jobs.errors import MemoryShort, ModelTooLarge
from kinema_jobs.memory import free_memory, in_gib, memory_short, total_memory
from kinema_jobs.model_folder import is_open
from kinema_model.adapters.folder import load_lora
from kinema_model.adapters.lora import remove_lora
from kinema_model.conditions.tasks import Task, check_task
from kinema_model.config import ModelConfig
from kinema_model.diffusion.sampler import NO_GUIDANCE
from kinema_model.errors import BrokenArtefact, ShapeError, TaskError
from kinema_model.pipeline import Pipeline
from kinema_model.streaming.stream import Shot, trained_streaming
from kinema_model.text.encoder import MAX_TOKENS
from kinema_world.stored import texts_beside


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
        width, height = parse_size(request.size)
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
    seconds = DEFAULT_SECONDS if request.seconds is None else request.seconds
    lengths = (seconds, *(shot.seconds for shot in request.shots))
    frames = config.grid.frames_of(sum(config.rows_for(length, fps) for length in lengths))
    if frames < config.grid.frames_of(config.least_rows):
        raise ShapeError(f"This model cannot render {seconds:g} seconds: request at least {2 / fps:g}.")
    if frames > config.max_frames and config.streaming is None:
        raise ShapeError(f"This model cannot render {seconds:g} seconds: request at most {config.max_frames / fps:g}.")
    return OutputShape(frames, height, width, float(fps))


def open_pipeline(folder: Path) -> Pipeline:
    """The model in `folder`, on the first GPU if there is one.

    Raises `BrokenArtefact`, naming the file; and before anything is loaded `ModelTooLarge` if the weights can never
    fit into memory, `MemoryShort` if they do not fit now.
    """
    if is_open(folder):
        raise BrokenArtefact(
            f"{folder} holds open weights, which can be rendered with alone. Give a model of a training."
        )
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


class TrainedModel:
    """A model that Kinema trained, as a `ClipModel`."""

    defaults: Final = Defaults(DEFAULT_STEPS, DEFAULT_GUIDANCE_SCALE)
    has_expansion_rules: Final = True

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.device = pipeline.device
        self.largest_input = pipeline.config.max_side

    def check(self, clip: ClipRequest) -> None:
        """See `ClipModel.check`. Raises `TaskError`."""
        check_task(Task(clip.task), self._pipeline.config.tasks)
        if clip.guidance_scale_2 is not None:
            raise TaskError("This model has one network, so guidanceScale2 does not apply. Remove it.")

    def output_shape(self, clip: ClipRequest, task: Task, input_size: tuple[int, int] | None = None) -> OutputShape:
        """See `ClipModel.output_shape`. Raises `ShapeError`, and `TaskError` for shots."""
        return output_shape(self._pipeline.config, clip, task, input_size)

    def warnings(self, shape: OutputShape) -> tuple[str, ...]:
        """None: a shape that it was not trained for is refused."""
        return ()

    def render(
        self, request: ResolvedRequest, work: Work, shape: OutputShape, on_step: OnStep, should_stop: ShouldStop
    ) -> Rendered:
        """See `ClipModel.render`, and `render` for errors."""
        return render(self._pipeline, request, work, shape, on_step, should_stop)

    @contextmanager
    def adapted(self, adapter: Path, digest: str | None) -> Iterator[None]:
        """Render with an adapter in the meantime; the weights stay in memory as they are.

        `digest` is that of this model, if it is known. Raises `BrokenArtefact`, naming the file, for an adapter that is
        damaged or of another model.
        """
        network = self._pipeline.model.network
        load_lora(adapter, network, base=digest or "")
        try:
            yield
        finally:
            remove_lora(network)

    def encoded(self, prompts: list[str]) -> EncodedPrompt:
        """See `ClipModel.encoded`. Raises `PromptError`."""
        reading = self._pipeline.reading(prompts)
        return EncodedPrompt(tokens=reading.tokens, limit=MAX_TOKENS, cut=reading.cut, unseen_words=reading.unseen)


def require_memory(config: ModelConfig, request: ResolvedRequest, shape: OutputShape, device: torch.device) -> None:
    """Raise `ShapeError` for a clip that can never fit into memory, `MemoryShort` for one that does not fit now.

    The estimate is a lower bound: the feed-forward of one block, in and out, of all tokens that are denoised
    together (twice with guidance), and the finished clip.
    """
    network, total, free = config.network, total_memory(device), free_memory(device)
    frames = shape.frames
    if config.streaming is not None and _streams(config, request.clip, shape):
        frames = min(frames, config.streaming.chunk_frames)
    tokens = config.grid.tokens(frames, shape.height, shape.width)
    halves = 1 if request.guidance_scale == NO_GUIDANCE else 2
    need = 8 * tokens * halves * (network.width + network.ffn_dim) + 3 * shape.frames * shape.height * shape.width
    clip = f"A clip of {shape.size} with {shape.frames} frames needs at least {in_gib(need)} of memory and"
    if total is not None and need > total:
        raise ShapeError(f"{clip} there are {in_gib(total)}: request a smaller size or fewer seconds.")
    if free is not None and need > free:
        raise MemoryShort(f"{clip} {in_gib(free)} are free now: try again, or request a smaller size or fewer seconds.")


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
    require_memory(pipeline.config, request, shape, pipeline.device)
    with memory_short(pipeline.device):
        return _rendered(pipeline, request, work, shape, on_step, should_stop)


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
        "steps": request.steps,
        "guidance_scale": request.guidance_scale,
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
    seconds = request.clip.seconds
    first = Shot(request.heard, DEFAULT_SECONDS if seconds is None else seconds)
    return [first, *(Shot(shot.prompt, shot.seconds, shot.like or 0) for shot in request.clip.shots)]
