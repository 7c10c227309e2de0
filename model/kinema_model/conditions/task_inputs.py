"""The inputs of a task in pixels: cut from a clip of the data in training, taken from a request in sampling."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from kinema_model.conditions.tasks import TRAINED_BY, Task
from kinema_model.errors import ShapeError, TaskError


@dataclass(frozen=True)
class Segment:
    """Input frames (3, t, H, W) in [-1, 1]; the first of them is frame `at` of the clip, counted from 0."""

    video: Tensor
    at: int


@dataclass(frozen=True)
class TaskInputs:
    """All inputs of a clip. `mask` bool (T, H, W) is True where `source` (3, T, H, W) in [-1, 1] is generated anew.

    `segments` may lie anywhere in the clip or begin with the frame after its last. A `source` without a mask is what
    noise is added to when sampling begins at a level below 1 (SDEdit, Meng et al. 2021, arXiv:2108.01073).
    """

    segments: tuple[Segment, ...] = ()
    source: Tensor | None = None
    mask: Tensor | None = None


NO_INPUTS: Final = TaskInputs()


def training_clip(task: Task, video: Tensor, other: Tensor | None) -> Tensor:
    """The clip (3, T, H, W) that trains a task, made from `video` and, for a blend, from `other`, of the same shape.

    A loop plays the first half of the clip forwards and then backwards; a blend dissolves from one clip into the other.
    """
    if task is Task.LOOP:
        frames = video.shape[1]
        return video[:, [min(at, frames - at) for at in range(frames)]]
    if task is Task.BLEND and other is not None:
        return dissolved(video, other)
    return video


def dissolved(first: Tensor, last: Tensor) -> Tensor:
    """A cross-fade (3, T, H, W) from one clip to another of the same shape."""
    share = torch.linspace(0, 1, first.shape[1])[None, :, None, None]
    return (1 - share) * first + share * last


def draw_inputs(task: Task, video: Tensor, draw: np.random.Generator) -> TaskInputs:
    """The inputs of a training sample, cut from the clip (3, T, H, W) that `training_clip` returns.

    A clip of one frame has no inputs, since nothing would be left to generate. Raises `TaskError` for a task that has
    no training of its own.
    """
    frames = video.shape[1]
    if task in (Task.TEXT, Task.PICTURE) or frames < 2:
        return NO_INPUTS
    few = 1 + int(draw.integers(max(1, frames // 2)))
    match task:
        case Task.INPAINT:
            return TaskInputs(source=video, mask=_random_box(video, draw))
        case Task.IMAGE:
            return TaskInputs((Segment(video[:, :1], 0),))
        case Task.EXTEND:
            return TaskInputs((Segment(video[:, :few], 0),))
        case Task.EXTEND_BACK:
            return TaskInputs((Segment(video[:, -few:], frames - few),))
        case Task.FILL | Task.BLEND:
            return TaskInputs((Segment(video[:, :1], 0), Segment(video[:, -1:], frames - 1)))
        case Task.LOOP:
            return TaskInputs((Segment(video[:, :1], 0), Segment(video[:, :1], frames)))
    raise TaskError(f"{task.value!r} needs no training of its own. Train {TRAINED_BY[task].value!r} for it.")


def _random_box(video: Tensor, draw: np.random.Generator) -> Tensor:
    """A box of a third to two thirds of each side, the same in every frame."""
    _, frames, height, width = video.shape
    mask = torch.zeros(frames, height, width, dtype=torch.bool)
    spans = []
    for side in (height, width):
        length = max(1, int(side * draw.uniform(1 / 3, 2 / 3)))
        first = int(draw.integers(side - length + 1))
        spans.append(slice(first, first + length))
    mask[:, spans[0], spans[1]] = True
    return mask


def check_inputs(inputs: TaskInputs, frames: int, height: int, width: int) -> None:
    """Raise `ShapeError` for inputs that do not fit a clip of this shape, naming the input and both shapes."""
    for segment in inputs.segments:
        shape = tuple(segment.video.shape)
        if len(shape) != 4 or shape[0] != 3 or shape[2:] != (height, width):
            raise ShapeError(f"Given frames of shape {shape} do not fit. Give (3, t, {height}, {width}).")
        if not 0 <= segment.at <= frames:
            raise ShapeError(f"Given frames cannot be shown as frame {segment.at}. Use 0 to {frames}.")
    if inputs.source is not None and tuple(inputs.source.shape) != (3, frames, height, width):
        raise ShapeError(
            f"A source of shape {tuple(inputs.source.shape)} does not fit. Give (3, {frames}, {height}, {width})."
        )
    if inputs.mask is not None and (inputs.source is None or tuple(inputs.mask.shape) != (frames, height, width)):
        raise ShapeError(
            f"A mask of shape {tuple(inputs.mask.shape)} does not fit. Give ({frames}, {height}, {width}) and a source."
        )


def inputs_for(
    task: Task, frames: int, first: Tensor, last: Tensor | None = None, mask: Tensor | None = None
) -> TaskInputs:
    """The inputs of a request for a clip of so many frames; `first` and `last` are clips (3, t, H, W) in [-1, 1].

    image, loop: `first` is one frame. extend: the clip begins with `first`. extend-back: it ends with `first`. fill,
    blend: it leads from `first` to `last`. edit: `first` is the clip that is edited. inpaint: `first` is generated anew
    where `mask` (T, H, W) is True. Raises `TaskError` for an input that is missing, `ShapeError` for one that does not
    fit.
    """
    if task in (Task.FILL, Task.BLEND) and last is None:
        raise TaskError(f"{task.value!r} needs two clips. Give the second one too.")
    if task is Task.INPAINT and mask is None:
        raise TaskError("'inpaint' needs a mask. Give one.")
    if task in (Task.IMAGE, Task.LOOP) and first.shape[1] != 1:
        raise ShapeError(f"{task.value!r} begins with one picture, not {first.shape[1]} frames. Give one frame.")
    match task:
        case Task.IMAGE | Task.EXTEND:
            return TaskInputs((Segment(first, 0),))
        case Task.EXTEND_BACK:
            return TaskInputs((Segment(first, frames - first.shape[1]),))
        case Task.LOOP:
            return TaskInputs((Segment(first, 0), Segment(first, frames)))
        case Task.EDIT:
            return TaskInputs(source=first)
        case Task.INPAINT:
            return TaskInputs(source=first, mask=mask)
        case Task.FILL if last is not None:
            return TaskInputs((Segment(first, 0), Segment(last, frames - last.shape[1])))
        case Task.BLEND if last is not None:
            if first.shape != last.shape or first.shape[1] != frames:
                raise ShapeError(f"A blend of {frames} frames needs two clips of so many. Cut both to that.")
            ends = (Segment(first[:, :1], 0), Segment(last[:, -1:], frames - 1))
            return TaskInputs(ends, source=dissolved(first, last))
    raise TaskError(f"{task.value!r} takes no input. Remove the clips, or use another task.")
