"""The inputs of a request: clips, pictures and masks that any client may have made, and what a task makes of them.

Files are hostile: a process of its own reads them (kinema_jobs.clip.decoding), which can be killed and whose memory is
bounded.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from kinema_api.inputs import ENDED_TASKS, EXTENDING_TASKS, FROM_WORDS, Region
from kinema_jobs.clip.decoding.process import ShouldStop, Source
from kinema_jobs.clip.media import Video
from kinema_model.codec.codec import pixels
from kinema_model.conditions.task_inputs import TaskInputs, inputs_for
from kinema_model.conditions.tasks import Task
from kinema_model.errors import ShapeError, TaskError

Name = Literal["input", "end", "mask"]
NAMES: Final[tuple[Name, ...]] = ("input", "end", "mask")


def _never() -> bool:
    return False


@dataclass(frozen=True)
class InputClip:
    """An input file whose size is known: `size` is (height, width) in pixels as displayed."""

    name: Name
    path: Path
    size: tuple[int, int]
    moving: bool
    """False: a picture."""
    source: Source = field(repr=False)

    def frames(self, count: int, fps: float, *, last: bool = False) -> Video:
        """The first (or last) `count` frames at this rate, uint8 (T, H, W, 3); a picture is one frame, fewer if short.

        Raises `ShapeError` if it cannot be decoded, `SamplingStopped` if the request was stopped.
        """
        kept: deque[Video] = deque(maxlen=count if last else None)
        for frame in self.source.frames("frames", self.size, fps):
            kept.append(frame)
            if not last and len(kept) == count:
                break
        return np.stack(kept)

    def made(self, frames: int) -> Tensor:
        """A mask (T, H, W), True where the picture is white.

        Raises `ShapeError` for a picture that is all black or not black and white.
        """
        (marked,) = self.source.frames("mask", self.size, 1.0)
        mask = torch.from_numpy(marked > 0)
        return mask.expand(frames, *mask.shape)


def open_input(name: Name, path: Path, largest: int, should_stop: ShouldStop = _never) -> InputClip:
    """Read what kind of file an input is, and its size.

    Raises `ShapeError` for what is none of the known kinds, too large, or nothing that can be shown as it is meant, and
    `SamplingStopped`, as all later reading, once `should_stop` says so.
    """
    source = Source(name, path, largest, should_stop)
    size, moving = source.size()
    return InputClip(name, path, size, moving, source)


@dataclass(frozen=True)
class Work:
    """The inputs of a task: its clips by name, and how much of them it uses."""

    task: Task
    clips: dict[Name, InputClip]
    input_seconds: float | None = None
    region: Region | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) in pixels of the input or end clip, if any."""
        clip = self.clips.get("input")
        return clip.size if clip else None

    def check(self) -> None:
        """Raise `TaskError` for a missing input and for one that the task does not use."""
        task, names = self.task.value, set(self.clips)
        if task in FROM_WORDS and names:
            raise TaskError(f"{task!r} takes no {min(names)}. Remove it, or name a task such as extend.")
        if task not in FROM_WORDS and "input" not in names:
            raise TaskError(f"{task!r} needs a clip or an image. Set input.")
        if "end" in names and task not in ENDED_TASKS:
            raise TaskError(f"{task!r} takes no end. Remove it, or use one of: {', '.join(ENDED_TASKS)}.")
        if ("mask" in names or self.region) and self.task is not Task.INPAINT:
            raise TaskError(f"{task!r} takes no mask. Remove it, or use inpaint.")
        if self.input_seconds is not None and task not in EXTENDING_TASKS:
            raise TaskError(f"{task!r} takes no inputSeconds. Remove it, or use extend or extend-back.")

    def task_inputs(self, frames: int, height: int, width: int, fps: float) -> TaskInputs:
        """What the model takes for a clip of this shape. Raises `ShapeError` and `TaskError` for what does not fit."""
        self.check()
        if frames < 2 and self.task not in (Task.EDIT, Task.INPAINT):
            raise ShapeError(
                f"{self.task.value!r} has one input frame, and the clip has no other. Request more seconds."
            )
        for clip in self.clips.values():
            if clip.size != (height, width):
                raise ShapeError(
                    f"The {clip.name} is {clip.size[1]}x{clip.size[0]} and the clip {width}x{height}. "
                    "Request the input's size, or scale the input."
                )
        task, end = self.task, self.clips.get("end")
        if task is Task.FILL:
            last = None if end is None else pixels(end.frames(1, fps))
            return inputs_for(task, frames, pixels(self.clips["input"].frames(1, fps, last=True)), last)
        if task in (Task.IMAGE, Task.LOOP):
            return inputs_for(task, frames, pixels(self.clips["input"].frames(1, fps)))
        if task in (Task.EXTEND, Task.EXTEND_BACK):
            few = self._shown(frames, fps)
            return inputs_for(task, frames, pixels(self.clips["input"].frames(few, fps, last=task is Task.EXTEND)))
        first = self._whole("input", frames, fps)
        second = None if end is None else self._whole("end", frames, fps)
        mask = self._mask(frames, height, width) if task is Task.INPAINT else None
        return inputs_for(task, frames, first, second, mask)

    def _shown(self, frames: int, fps: float) -> int:
        """Frames of the input that an extended clip shows; at least one frame is left to generate."""
        wanted = frames // 2 if self.input_seconds is None else round(self.input_seconds * fps)
        if wanted >= frames:
            raise ShapeError(
                f"{wanted} of {frames} frames would be taken from the input and none generated. Request more "
                "seconds, or lower inputSeconds."
            )
        return max(1, wanted)

    def _whole(self, name: Name, frames: int, fps: float) -> Tensor:
        video = self.clips[name].frames(frames, fps)
        if len(video) < frames:
            raise ShapeError(
                f"The {name} lasts {len(video) / fps:g} seconds and the clip {frames / fps:g}. Request at most that."
            )
        return pixels(video)

    def _mask(self, frames: int, height: int, width: int) -> Tensor | None:
        if "mask" in self.clips:
            return self.clips["mask"].made(frames)
        if self.region is None:
            return None
        box = self.region
        if box.left + box.width > width or box.top + box.height > height:
            raise ShapeError(
                f"The mask's region ends at {box.left + box.width}x{box.top + box.height}, outside the clip of "
                f"{width}x{height}. Move or shrink it."
            )
        mask = torch.zeros(frames, height, width, dtype=torch.bool)
        mask[:, box.top : box.top + box.height, box.left : box.left + box.width] = True
        return mask
