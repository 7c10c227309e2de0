"""Reads what a request is given: clips, pictures and masks that anybody may have made.

Files are hostile. Their kind is told by their first bytes and nothing else is tried on them, since some demuxers open
further files and addresses that a playlist names; sizes are checked before anything is decoded, and decoding keeps no
more frames than the clip has.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import av
import numpy as np
import torch
from av.error import FFmpegError
from PIL import Image
from torch import Tensor

from kinema_api.generation import MAX_SECONDS
from kinema_api.inputs import ENDED_TASKS, EXTENDING_TASKS, FROM_WORDS, Region
from kinema_jobs.media import Video
from kinema_model.codec import pixels
from kinema_model.errors import ShapeError, TaskError
from kinema_model.given import Given, given_for
from kinema_model.tasks import Task

MAX_FRAMES: Final = 20_000
"""Frames that are decoded of one input, and moments that it is looked at."""
_WHITE: Final = 128
_CLEAR: Final = 64
"""How far from black or white a pixel of a mask may be, as edges are that were drawn softly or packed by JPEG."""
_UNCLEAR_SHARE: Final = 0.25
_HEAD_BYTES: Final = 16
_HALF: Final = 0.5
_PICTURES: Final = ("PNG", "JPEG", "WEBP")
Name = Literal["input", "end", "mask"]
NAMES: Final[tuple[Name, ...]] = ("input", "end", "mask")


@dataclass(frozen=True)
class Footage:
    """An input file, opened as far as its size is known: `size` is (height, width) in pixels."""

    name: Name
    path: Path
    size: tuple[int, int]
    container: str | None
    """The demuxer of a clip; None: a picture."""

    def frames(self, count: int, fps: float, *, last: bool = False) -> Video:
        """The first (or last) `count` frames at this rate, uint8 (T, H, W, 3); a picture is one frame, fewer if short.

        Raises `ShapeError` for what cannot be decoded.
        """
        if self.container is None:
            return _decoded(self.name, self.path, "RGB")[None]
        kept: deque[Video] = deque(maxlen=count if last else None)
        try:
            for frame in _at_rate(self.path, self.container, fps):
                kept.append(frame)
                if not last and len(kept) == count:
                    break
        except (FFmpegError, ValueError) as error:
            raise _unreadable(self.name, _why(error)) from None
        if not kept:
            raise _unreadable(self.name, "it shows nothing")
        return np.stack(kept)

    def made(self, frames: int) -> Tensor:
        """A mask (T, H, W), True where the picture is white.

        Raises `ShapeError` for one that is all black, or a picture of something else.
        """
        colours = _decoded(self.name, self.path, "RGB")
        unclear = ((colours.max(axis=2) > _CLEAR) & (colours.min(axis=2) < 255 - _CLEAR)).mean()
        if unclear > _UNCLEAR_SHARE:
            raise ShapeError(
                f"The mask is not black and white: {unclear:.0%} of its pixels are neither. Paint white what is to be "
                "made anew and black what stays."
            )
        mask = torch.from_numpy(_decoded(self.name, self.path, "L") >= _WHITE)
        if not mask.any():
            raise ShapeError("The mask marks nothing. Paint white what is to be made anew.")
        return mask.expand(frames, *mask.shape)


def open_footage(name: Name, path: Path, largest: int) -> Footage:
    """Tell what a file is and how large. Raises `ShapeError` for what is none of the known kinds or too large."""
    try:
        with path.open("rb") as file:
            container = _container(file.read(_HEAD_BYTES))
    except OSError as error:
        raise _unreadable(name, error.strerror or type(error).__name__) from None
    if name == "mask" and container is not None:
        raise ShapeError("The mask is a clip. Give a PNG, JPEG or WebP, white where the clip is to be made anew.")
    if container is None:
        width, height = _picture(name, path).size
    else:
        height, width = _clip_size(name, path, container)
    if max(height, width) > largest:
        raise ShapeError(f"The {name} is {width}x{height} and this model's clips are at most {largest}. Scale it down.")
    return Footage(name, path, (height, width), container)


def _container(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        return "mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    return None


def _picture(name: Name, path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=_PICTURES)
    except (OSError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _unreadable(name, type(error).__name__) from None
    # A JPEG of several pictures is a photo with its previews; the others are films.
    if picture.format != "JPEG" and picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1:
        raise ShapeError(f"The {name} is an animated picture. Give a clip as MP4 or WebM, or a single picture.")
    return picture


def _decoded(name: Name, path: Path, mode: str) -> Video:
    """The pixels of a picture. Raises `ShapeError` for what cannot be decoded, and nothing else."""
    try:
        return np.asarray(_picture(name, path).convert(mode))
    except ShapeError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds for bytes that are not what they seem
        raise _unreadable(name, type(error).__name__) from None


def _open(path: Path, container: str) -> Any:
    return av.open(str(path), format=container, options={"protocol_whitelist": "file", "enable_drefs": "0"})


def _clip_size(name: Name, path: Path, container: str) -> tuple[int, int]:
    try:
        with _open(path, container) as opened:
            return _size(opened.streams.video[0])
    except (FFmpegError, IndexError, ValueError) as error:
        raise _unreadable(name, _why(error)) from None


def _size(stream: Any) -> tuple[int, int]:
    """(height, width) by the container. Raises `ValueError` where no decoder knows the codec."""
    if stream.codec_context is None:
        raise ValueError("its codec is not known")
    return stream.codec_context.height, stream.codec_context.width


def _at_rate(path: Path, container: str, fps: float) -> Iterator[Video]:
    """Frames as they are on the screen at the moments k / fps."""
    with _open(path, container) as opened:
        stream = opened.streams.video[0]
        size = _size(stream)
        shown: Video | None = None
        tick, began = 0, 0.0
        usual = 1 / float(stream.average_rate or fps)
        for number, frame in enumerate(opened.decode(stream)):
            if number == MAX_FRAMES:
                raise ValueError("too many frames")
            pixels = frame.to_ndarray(format="rgb24")
            if pixels.shape[:2] != size:
                raise ValueError("frames of different sizes")
            time = float(frame.time or 0.0)
            began = time if shown is None else began
            while shown is not None and tick < (time - began) * fps - _HALF:
                yield shown
                tick = _next(tick)
            shown, ends = pixels, time - began + usual
        while shown is not None and tick < ends * fps - _HALF:
            yield shown
            tick = _next(tick)


def _next(tick: int) -> int:
    """The next moment; a file may claim that a frame is shown for years."""
    if tick == MAX_FRAMES:
        raise ValueError("it is shown for too long")
    return tick + 1


def _why(error: Exception) -> str:
    """Words of our own; a decoder's own repeat what the file says."""
    return str(error) if type(error) is ValueError else type(error).__name__


def _unreadable(name: Name, why: str) -> ShapeError:
    return ShapeError(f"The {name} cannot be read ({why}). Give an MP4, a WebM, a PNG, a JPEG or a WebP.")


@dataclass(frozen=True)
class Work:
    """What a task is done on: its files by name, and how much of them."""

    task: Task
    footage: dict[Name, Footage]
    input_seconds: float | None = None
    region: Region | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) in pixels of the clip that is worked on, if any."""
        given = self.footage.get("input")
        return given.size if given else None

    def check(self) -> None:
        """Refuse what the task lacks or has no use for. Raises `TaskError`, and `ShapeError` for a length."""
        task, given = self.task.value, set(self.footage)
        if task in FROM_WORDS and given:
            raise TaskError(f"{task!r} takes no {min(given)}. Remove it, or name a task such as extend.")
        if task not in FROM_WORDS and "input" not in given:
            raise TaskError(f"{task!r} works on a clip or a picture. Give input.")
        if "end" in given and task not in ENDED_TASKS:
            raise TaskError(f"{task!r} leads nowhere. Remove end, or name one of: {', '.join(ENDED_TASKS)}.")
        if ("mask" in given or self.region) and self.task is not Task.INPAINT:
            raise TaskError(f"{task!r} takes no mask. Remove it, or name inpaint.")
        if self.input_seconds is not None:
            if task not in EXTENDING_TASKS:
                raise TaskError(f"{task!r} does not count input seconds. Remove them, or name extend or extend-back.")
            if not 0 < self.input_seconds <= MAX_SECONDS:
                raise ShapeError(
                    f"{self.input_seconds:g} input seconds cannot be shown. Give more than 0 and at most {MAX_SECONDS}."
                )

    def given(self, frames: int, height: int, width: int, fps: float) -> Given:
        """All that a clip of this shape is given. Raises `ShapeError` and `TaskError` for what does not fit."""
        self.check()
        if frames < 2 and self.task not in (Task.EDIT, Task.INPAINT):
            raise ShapeError(
                f"{self.task.value!r} is given one frame, and the clip has no other. Ask for more seconds."
            )
        for footage in self.footage.values():
            if footage.size != (height, width):
                raise ShapeError(
                    f"The {footage.name} is {footage.size[1]}x{footage.size[0]} and the clip {width}x{height}. "
                    "Ask for the input's size, or scale one to the other."
                )
        task, end = self.task, self.footage.get("end")
        if task is Task.FILL:
            last = None if end is None else pixels(end.frames(1, fps))
            return given_for(task, frames, pixels(self.footage["input"].frames(1, fps, last=True)), last)
        if task in (Task.IMAGE, Task.LOOP):
            return given_for(task, frames, pixels(self.footage["input"].frames(1, fps)))
        if task in (Task.EXTEND, Task.EXTEND_BACK):
            few = self._shown(frames, fps)
            return given_for(task, frames, pixels(self.footage["input"].frames(few, fps, last=task is Task.EXTEND)))
        first = self._whole("input", frames, fps)
        second = None if end is None else self._whole("end", frames, fps)
        mask = self._mask(frames, height, width) if task is Task.INPAINT else None
        return given_for(task, frames, first, second, mask)

    def _shown(self, frames: int, fps: float) -> int:
        """Frames of the input that an extended clip shows; at least one is left to be made."""
        wanted = frames // 2 if self.input_seconds is None else round(self.input_seconds * fps)
        if wanted >= frames:
            raise ShapeError(
                f"{wanted} of {frames} frames would be given and none made. Ask for more seconds, or show fewer."
            )
        return max(1, wanted)

    def _whole(self, name: Name, frames: int, fps: float) -> Tensor:
        video = self.footage[name].frames(frames, fps)
        if len(video) < frames:
            raise ShapeError(
                f"The {name} lasts {len(video) / fps:g} seconds and the clip {frames / fps:g}. "
                "Ask for no more than it has."
            )
        return pixels(video)

    def _mask(self, frames: int, height: int, width: int) -> Tensor | None:
        if "mask" in self.footage:
            return self.footage["mask"].made(frames)
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
