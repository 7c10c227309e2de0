"""Open weights as a model that makes clips: which requests they can have, and what their memory allows.

How weights are held follows from the device: the least offloading with which the usual clip fits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from kinema_api.clip import ClipRequest
from kinema_api.errors import BrokenFolder
from kinema_api.memory_estimate import ClipSize, Offload, fitting, memory_need, refusal
from kinema_api.wire import EncodedPrompt
from kinema_jobs.clip.inputs import Work
from kinema_jobs.clip.media import MAX_FPS
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
from kinema_jobs.memory import free_memory, in_gib, memory_short, total_host_memory, total_memory
from kinema_model.codec.codec import Video
from kinema_model.conditions.tasks import Task
from kinema_model.errors import BrokenArtefact, ShapeError, TaskError
from kinema_model.open_weights import offload
from kinema_model.open_weights.folder import OpenFolder, inspect
from kinema_model.open_weights.pipeline import OpenPipeline, Options, Request
from kinema_model.open_weights.text import MAX_TOKENS
from kinema_model.precision import precision_for

LARGEST_INPUT: Final = 4096
"""Longest side in pixels of a first frame, which is scaled to the clip."""


class OpenModel:
    """Open weights in memory, as a `ClipModel`."""

    has_expansion_rules: Final = False
    largest_input: Final = LARGEST_INPUT

    def __init__(self, pipeline: OpenPipeline, need: _Need) -> None:
        self._pipeline, self._need = pipeline, need
        self._folder, self._usual = pipeline.folder, pipeline.folder.usual
        self.device = pipeline.device
        self.defaults = Defaults(self._usual.steps, self._usual.guidance, self._usual.guidance_2)

    def check(self, clip: ClipRequest) -> None:
        """See `ClipModel.check`. Raises `TaskError`."""
        if clip.task not in self._folder.tasks:
            known = " or ".join(self._folder.tasks)
            raise TaskError(f"These weights make no clips for the task {clip.task!r}. Use {known}.")
        if clip.shots:
            raise TaskError("These weights make clips of one shot. Remove shots, or request one clip for each.")
        if clip.strength is not None or clip.input_seconds is not None:
            raise TaskError(f"{clip.task!r} takes neither strength nor inputSeconds. Remove them.")
        if clip.guidance_scale_2 is not None and self._folder.experts == 1:
            raise TaskError("These weights have one network, so guidanceScale2 does not apply. Remove it.")

    def output_shape(self, clip: ClipRequest, task: Task, input_size: tuple[int, int] | None = None) -> OutputShape:
        """See `ClipModel.output_shape`. Raises `ShapeError`, naming the nearest size that works."""
        check_size(clip)
        native, grid = self._pipeline.native, self._folder.grid
        if clip.fps is not None and clip.fps != native.fps:
            raise ShapeError(f"These weights make clips of {native.fps:g} frames per second. Leave fps out.")
        if native.fps > MAX_FPS:
            raise ShapeError(f"These weights make clips of more than {MAX_FPS} frames per second: use other weights.")
        width, height = native.width, native.height
        if clip.size is not None:
            width, height = parse_size(clip.size)
        elif input_size is not None:
            height, width = self._like(*input_size)
        frames = native.frames
        if clip.seconds is not None:
            frames = grid.frames_of(grid.rows_for(clip.seconds, native.fps))
        return OutputShape(*self._pipeline.clip_shape(frames, height, width), native.fps)

    def _like(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) with the aspect ratio of an input and about as many pixels as the usual clip."""
        native, (_, rows, columns) = self._pipeline.native, self._folder.grid.cell
        scale = (native.height * native.width / (height * width)) ** 0.5
        return max(round(height * scale / rows), 1) * rows, max(round(width * scale / columns), 1) * columns

    def warnings(self, shape: OutputShape) -> tuple[str, ...]:
        """What of a shape the weights were not made for, as far as that is known of them."""
        if self._folder.published_as is None:
            return ()
        found, shapes = [], self._usual.shapes
        sizes = [f"{each.width}x{each.height}" for each in shapes]
        if shape.size not in sizes:
            found.append(f"the model was not made for {shape.size}, but for {', '.join(sizes)}")
        longest = max(each.frames for each in shapes)
        if shape.frames > longest:
            found.append(f"the model was not made for {shape.frames} frames, but for {longest}")
        return tuple(found)

    def render(
        self, request: ResolvedRequest, work: Work, shape: OutputShape, on_step: OnStep, should_stop: ShouldStop
    ) -> Rendered:
        """See `ClipModel.render`. Raises `ShapeError` for a clip that can never fit into memory."""
        self._need.require(shape)
        clip = request.clip
        asked = Request(
            request.heard,
            negative=clip.negative_prompt or "",
            image=_first_frame(work, shape),
            frames=shape.frames,
            height=shape.height,
            width=shape.width,
            steps=request.steps,
            guidance=request.guidance_scale,
            guidance_2=request.guidance_scale_2,
            seed=request.seed,
        )
        with memory_short(self.device):
            return Rendered(self._pipeline.generate(asked, on_step, should_stop))

    def encoded(self, prompts: list[str]) -> EncodedPrompt:
        """See `ClipModel.encoded`. Raises `PromptError`."""
        reading = self._pipeline.reading(prompts)
        return EncodedPrompt(tokens=reading.tokens, limit=MAX_TOKENS, cut=reading.cut)


def _first_frame(work: Work, shape: OutputShape) -> Video | None:
    clip = work.clips.get("input")
    return None if clip is None else clip.frames(1, shape.fps)[0]


class _Need:
    """The memory of a device, and what clips of some weights take of it."""

    def __init__(self, folder: OpenFolder, device: torch.device) -> None:
        self._configs = _configs(folder)
        self._bytes = precision_for("auto", device).itemsize
        self._device = device
        self.total = total_memory(device)
        native = folder.usual.shapes[0]
        self._usual = ClipSize(native.frames, native.height, native.width)
        self.offload = Offload.NONE
        if device.type == "cuda" and self.total is not None:
            self.offload = fitting(self._configs, self._usual, self.total, dtype_bytes=self._bytes)

    def require_weights(self, folder: Path) -> None:
        """Raise `ModelTooLarge` if not even the smallest clip fits, `MemoryShort` if the weights do not fit now."""
        least = ClipSize(1, 32, 32)
        need = memory_need(self._configs, least, dtype_bytes=self._bytes)
        free, host = free_memory(self._device), total_host_memory()
        if self.total is not None and (refused := self._refusal(least)):
            raise ModelTooLarge(f"{folder.name}: {refused}.")
        if self.offload is not Offload.NONE and host is not None and sum(need.weights.values()) > host:
            raise ModelTooLarge(
                f"{folder.name}: the weights take {in_gib(sum(need.weights.values()))} of the host's memory, which has "
                f"{in_gib(host)}: give servers more in the VideoModel's spec.serving.resources, or use smaller weights."
            )
        if free is not None and need.peak(self.offload) > free:
            raise MemoryShort(
                f"{folder.name}: serving takes {in_gib(need.peak(self.offload))} of memory and {in_gib(free)} are free "
                f"on {self._device.type} now: try again, or give servers more in the VideoModel's "
                "spec.serving.resources."
            )

    def require(self, shape: OutputShape) -> None:
        """Raise `ShapeError` for a clip that can never fit, with what would."""
        if refused := self._refusal(ClipSize(shape.frames, shape.height, shape.width)):
            raise ShapeError(f"{refused}.")

    def _refusal(self, size: ClipSize) -> str | None:
        if self.total is None:
            return None
        return refusal(self._configs, size, self.offload, self.total, dtype_bytes=self._bytes)


def _configs(folder: OpenFolder) -> Mapping[str, Mapping[str, Any]]:
    return {name: json.loads((part.folder / "config.json").read_bytes()) for name, part in folder.parts.items()}


def open_weights(folder: Path) -> OpenModel:
    """The open weights in `folder`, on the first GPU if there is one. Their digests have been compared.

    Raises `BrokenArtefact` or `ConfigError`, naming the file; and before anything is loaded `ModelTooLarge` if they can
    never be served here, `MemoryShort` if they cannot now.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    inspected = inspect(folder, whole_tree=False)
    try:
        need = _Need(inspected, device)
        need.require_weights(folder)
    except BrokenFolder as error:
        raise BrokenArtefact(f"{folder.name}: {error}") from None
    options = Options(offload=offload.Offload(need.offload.value))
    return OpenModel(OpenPipeline(inspected, device=device, options=options, verified=True), need)
