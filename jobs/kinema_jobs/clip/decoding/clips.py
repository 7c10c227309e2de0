"""Decodes clips as a player shows them: rotated, with square pixels, at the requested times.

Memory is that of a few frames: each frame is checked before the next is decoded, and sent to the other process at once.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import av.logging
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import ColorRange, Interpolation

from kinema_jobs.clip.decoding import boxes, colour
from kinema_jobs.clip.decoding.errors import Refused, Unreadable, too_large
from kinema_jobs.clip.decoding.limits import MAX_FRAMES

Pixels = npt.NDArray[np.uint8]

# FFmpeg reports a refused size only in its log.
av.logging.set_level(av.logging.ERROR)

DECODERS: Final = ("h264", "hevc", "vp8", "vp9", "libdav1d", "mpeg4")
_HALF: Final = 0.5
_SHORT_SECONDS: Final = 0.5
"""By how much a clip may be shorter than its file says."""
_LENGTH: Final = re.compile(r"(\d\d):(\d\d):(\d\d(?:\.\d+)?)")
_PADDING: Final = 128
"""Pixels by which a coded side may exceed the displayed one: blocks are up to 128 wide."""
_TOO_MANY: Final = re.compile(r"Picture size (\d+)x(\d+) exceeds")
_DAMAGED: Final = "it is damaged or cut off"
_SMOOTH: Final = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP


@dataclass(frozen=True)
class _Display:
    """How the frames of a clip are shown."""

    width: int
    """Columns of square pixels, before turning."""
    height: int
    turn: tuple[int, int, int, int]
    """The signs a, b, c, d of the display matrix."""

    @property
    def shown(self) -> tuple[int, int]:
        """(height, width) on the screen."""
        return (self.height, self.width) if self.turn[0] else (self.width, self.height)


@dataclass(frozen=True)
class Clip:
    """An untrusted clip file."""

    name: str
    path: Path
    container: str
    largest: int

    def size(self) -> tuple[int, int]:
        """(height, width) as displayed, from headers and first frame. Raises `Refused` and `Unreadable`."""
        with self._open() as (opened, stream):
            for frame in opened.decode(stream):
                return self._display(stream, frame).shown
        raise Unreadable("it shows nothing")

    def at_rate(self, fps: float) -> Iterator[Pixels]:
        """Frames uint8 (H, W, 3) as displayed at the times k / fps.

        Raises `Refused` and `Unreadable`.
        """
        with self._open() as (opened, stream):
            shown: Pixels | None = None
            tick, began, ends = 0, 0.0, 0.0
            usual = 1 / float(stream.average_rate or fps)
            for pixels, time, lasts in self._frames(opened, stream):
                time = ends + began if time is None else time
                began = time if shown is None else began
                while shown is not None and tick < (time - began) * fps - _HALF:
                    yield shown
                    tick = _next(tick)
                shown, ends = pixels, time - began + (lasts or usual)
            if ends + _SHORT_SECONDS < _declared(stream):
                raise Unreadable(_DAMAGED)
            while shown is not None and tick < ends * fps - _HALF:
                yield shown
                tick = _next(tick)

    def _frames(self, opened: Any, stream: Any) -> Iterator[tuple[Pixels, float | None, float]]:
        """Each frame's pixels, time and duration in seconds; 0: not known."""
        display: _Display | None = None
        number = 0
        for number, frame in enumerate(opened.decode(stream), 1):
            if number > MAX_FRAMES:
                raise Unreadable("too many frames")
            if frame.is_corrupt:
                raise Unreadable(_DAMAGED)
            found = self._display(stream, frame)
            if display is not None and found != display:
                raise Unreadable("frames of different sizes")
            display = found
            yield self._pixels(frame, found), frame.time, float((frame.duration or 0) * (frame.time_base or 0))
        if number == 0:
            raise Unreadable("it shows nothing")

    def _pixels(self, frame: Any, display: _Display) -> Pixels:
        made = frame.reformat(
            display.width,
            display.height,
            "rgb24",
            src_colorspace=colour.matrix(self.name, frame),
            src_color_range=frame.color_range,
            dst_color_range=ColorRange.JPEG,
            interpolation=_SMOOTH,
            threads=1,
        )
        return _turned(made.to_ndarray(), display.turn)

    def _display(self, stream: Any, frame: Any) -> _Display:
        """How a frame is displayed. Raises `Refused` if it cannot be displayed as intended."""
        colour.check_transfer(self.name, frame.color_trc)
        if frame.interlaced_frame:
            raise Refused(f"The {self.name} is interlaced. Deinterlace it first: ffmpeg -i IN -vf bwdif OUT.")
        if any(component.is_alpha for component in frame.format.components):
            raise self._transparent()
        ratio = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
        width = max(1, round(frame.width * ratio)) if ratio > 0 else frame.width
        display = _Display(width, frame.height, self._turn(frame))
        height, width = display.shown
        if max(height, width) > self.largest:
            raise too_large(self.name, width, height, self.largest)
        return display

    def _turn(self, frame: Any) -> tuple[int, int, int, int]:
        try:
            raw = frame.side_data["DISPLAYMATRIX"]
        except KeyError:
            return (1, 0, 0, 1)
        numbers = np.frombuffer(bytes(raw)[:36], "<i4" if np.little_endian else ">i4")
        if len(numbers) != 9:
            return (1, 0, 0, 1)
        a, b, c, d = (int(np.sign(value)) for value in (numbers[0], numbers[1], numbers[3], numbers[4]))
        if (a and d and not b and not c) or (b and c and not a and not d):
            return (a, b, c, d)
        raise Refused(f"The {self.name} is turned by an angle that is not a right one. Save it upright.")

    @contextmanager
    def _open(self) -> Iterator[tuple[Any, Any]]:
        """The container and its stream, with the decoder bounded. Decoders' errors become `Unreadable`."""
        most = (self.largest + _PADDING) ** 2
        options = {
            "protocol_whitelist": "file",
            "enable_drefs": "0",
            "codec_whitelist": ",".join(DECODERS),
            "max_pixels": str(most),
            "threads": "1",
        }
        with av.logging.Capture() as log:
            try:
                with av.open(str(self.path), format=self.container, options=options) as opened:
                    stream = self._stream(opened)
                    stream.codec_context.options = {"max_pixels": str(most), "threads": "1"}
                    yield opened, stream
            except (FFmpegError, ValueError, MemoryError) as error:
                for _, _, line in log:
                    if grown := _TOO_MANY.search(line):
                        raise too_large(self.name, int(grown[1]), int(grown[2]), self.largest) from None
                raise Unreadable("it takes too much memory" if _hungry(error) else _DAMAGED) from None

    def _stream(self, opened: Any) -> Any:
        """The video stream. Raises `Refused` if no allowed decoder shows it as intended."""
        hidden = Disposition.attached_pic | Disposition.timed_thumbnails
        streams = [stream for stream in opened.streams.video if not stream.disposition & hidden]
        if not streams and not opened.streams.audio:
            raise Unreadable(_DAMAGED)
        if not streams:
            raise Refused(f"The {self.name} has no video. Give a clip or an image.")
        stream = streams[0]
        context = stream.codec_context
        if context is None or context.codec.name not in DECODERS:
            raise Refused(f"The {self.name} has an unsupported codec. Use H.264, HEVC, VP8, VP9, AV1 or MPEG-4.")
        if max(context.width, context.height) > self.largest:
            raise too_large(self.name, context.width, context.height, self.largest)
        colour.check_clip(self.name, context)
        if any(key.lower() == "alpha_mode" and value != "0" for key, value in stream.metadata.items()):
            raise self._transparent()
        if self.container == "mp4" and boxes.is_cropped(self.path):
            raise Refused(f"The {self.name} shows only a part of its frames (clean aperture). Crop it first.")
        return stream

    def _transparent(self) -> Refused:
        return Refused(f"The {self.name} is transparent in places, and a clip has no background. Flatten it first.")


def _turned(pixels: Pixels, turn: tuple[int, int, int, int]) -> Pixels:
    """uint8 (H, W, 3) turned by the display matrix: x' = a x + c y, y' = b x + d y."""
    a, b, c, d = turn
    if not a:
        pixels = pixels.transpose(1, 0, 2)
        a, d = c, b
    return np.ascontiguousarray(pixels[:: d or 1, :: a or 1])


def _declared(stream: Any) -> float:
    """Duration of the video that a WebM declares; 0: none. For an MP4 the demuxer detects that it is cut off."""
    found = _LENGTH.fullmatch(stream.metadata.get("DURATION", ""))
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else 0.0


def _next(tick: int) -> int:
    """The next time; limited, since a file may claim that a frame lasts for years."""
    if tick == MAX_FRAMES:
        raise Unreadable("it is shown for too long")
    return tick + 1


def _hungry(error: Exception) -> bool:
    return isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
