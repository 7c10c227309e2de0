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
from kinema_jobs.clip.decoding.errors import Reason, Refused, Unreadable, too_large
from kinema_jobs.clip.decoding.limits import REQUEST, Limits
from kinema_jobs.clip.decoding.sizes import scaled

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
class Probe:
    """A clip as displayed: rows and columns, frames per second and seconds; 0: its headers do not tell."""

    height: int
    width: int
    fps: float
    seconds: float


@dataclass
class _Shown:
    """A decoded frame, which becomes pixels once it is wanted: of 60 frames a second, a training may take 8."""

    clip: Clip
    frame: Any
    display: _Display
    area: int | None
    made: Pixels | None = None

    @property
    def lasts(self) -> float:
        """Seconds; 0: not known."""
        return float((self.frame.duration or 0) * (self.frame.time_base or 0))

    def pixels(self) -> Pixels:
        """The frame, uint8 (H, W, 3)."""
        if self.made is None:
            self.made = self.clip.pixels_of(self.frame, self.display, self.area)
        return self.made


@dataclass(frozen=True)
class Clip:
    """An untrusted clip file."""

    name: str
    path: Path
    container: str
    largest: int
    limits: Limits = REQUEST

    def size(self) -> tuple[int, int]:
        """(height, width) as displayed, from headers and first frame. Raises `Refused` and `Unreadable`."""
        with self._open() as (opened, stream):
            for frame in opened.decode(stream):
                return self._display(stream, frame).shown
        raise Unreadable("it shows nothing")

    def probe(self) -> Probe:
        """Size, rate and length, from headers and first frame. Raises `Refused` and `Unreadable`."""
        with self._open() as (opened, stream):
            for frame in opened.decode(stream):
                rate = stream.average_rate or stream.guessed_rate or stream.base_rate
                known = [float(stream.duration * stream.time_base)] if stream.duration and stream.time_base else []
                known += [opened.duration / av.time_base] if opened.duration else []
                return Probe(*self._display(stream, frame).shown, float(rate or 0), max(known, default=0.0))
        raise Unreadable("it shows nothing")

    def at_rate(self, fps: float, first: int = 0, end: int | None = None, area: int | None = None) -> Iterator[Pixels]:
        """Frames uint8 (H, W, 3) as displayed at the times k / fps, k from `first` to before `end`.

        They are scaled down to about `area` pixels (see `sizes.scaled`). Raises `Refused` and `Unreadable`.
        """
        with self._open() as (opened, stream):
            shown: _Shown | None = None
            tick, ends = first, 0.0
            began = _sought(opened, stream, first / fps) if first else None
            usual = 1 / float(stream.average_rate or fps)
            for frame, time in self._frames(opened, stream, area, began, first / fps):
                if time is None and first:
                    raise Unreadable("its frames have no times")
                time = ends + (began or 0.0) if time is None else time
                began = time if began is None else began
                while shown is not None and tick < (time - began) * fps - _HALF:
                    yield shown.pixels()
                    tick = self._next(tick, first)
                    if tick == end:
                        return
                shown, ends = frame, time - began + (frame.lasts or usual)
            if ends + _SHORT_SECONDS < _declared(stream):
                raise Unreadable(_DAMAGED)
            while shown is not None and tick < ends * fps - _HALF and tick != end:
                yield shown.pixels()
                tick = self._next(tick, first)

    def _frames(
        self, opened: Any, stream: Any, area: int | None, began: float | None, start: float
    ) -> Iterator[tuple[_Shown, float | None]]:
        """Each frame and its time in seconds; what lies before `start` may be damaged, as after any jump."""
        display: _Display | None = None
        number = 0
        for number, frame in enumerate(opened.decode(stream), 1):
            if number > self.limits.frames:
                raise Unreadable("too many frames")
            if frame.is_corrupt:
                if began is not None and frame.time is not None and frame.time < began + start:
                    continue
                raise Unreadable(_DAMAGED)
            found = self._display(stream, frame)
            if display is not None and found != display:
                raise Unreadable("frames of different sizes")
            display = found
            yield _Shown(self, frame, found, area), frame.time
        if number == 0 and began is None:
            raise Unreadable("it shows nothing")

    def pixels_of(self, frame: Any, display: _Display, area: int | None) -> Pixels:
        """A decoded frame as it is displayed."""
        height, width = scaled(display.height, display.width, area)
        made = frame.reformat(
            width,
            height,
            "rgb24",
            src_colorspace=colour.matrix(self.name, frame),
            src_color_range=frame.color_range,
            dst_color_range=ColorRange.JPEG,
            interpolation=_SMOOTH,
            threads=1,
        )
        return _turned(made.to_ndarray(), display.turn)

    def _next(self, tick: int, first: int) -> int:
        """The next time; limited, since a file may claim that a frame lasts for years."""
        if tick - first == self.limits.frames:
            raise Unreadable("it is shown for too long")
        return tick + 1

    def _display(self, stream: Any, frame: Any) -> _Display:
        """How a frame is displayed. Raises `Refused` if it cannot be displayed as intended."""
        colour.check_transfer(self.name, frame.color_trc)
        if frame.interlaced_frame:
            raise Refused(
                f"The {self.name} is interlaced. Deinterlace it first: ffmpeg -i IN -vf bwdif OUT.", Reason.INTERLACED
            )
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
        raise Refused(f"The {self.name} is turned by an angle that is not a right one. Save it upright.", Reason.TURNED)

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
            raise Refused(f"The {self.name} has no video. Give a clip or an image.", Reason.NO_VIDEO)
        stream = streams[0]
        context = stream.codec_context
        if context is None or context.codec.name not in DECODERS:
            sentence = f"The {self.name} has an unsupported codec. Use H.264, HEVC, VP8, VP9, AV1 or MPEG-4."
            raise Refused(sentence, Reason.CODEC)
        if max(context.width, context.height) > self.largest:
            raise too_large(self.name, context.width, context.height, self.largest)
        colour.check_clip(self.name, context)
        if any(key.lower() == "alpha_mode" and value != "0" for key, value in stream.metadata.items()):
            raise self._transparent()
        if self.container == "mp4" and boxes.is_cropped(self.path):
            raise Refused(
                f"The {self.name} shows only a part of its frames (clean aperture). Crop it first.", Reason.CROPPED
            )
        return stream

    def _transparent(self) -> Refused:
        return Refused(
            f"The {self.name} is transparent in places, and a clip has no background. Flatten it first.",
            Reason.TRANSPARENT,
        )


def _turned(pixels: Pixels, turn: tuple[int, int, int, int]) -> Pixels:
    """uint8 (H, W, 3) turned by the display matrix: x' = a x + c y, y' = b x + d y."""
    a, b, c, d = turn
    if not a:
        pixels = pixels.transpose(1, 0, 2)
        a, d = c, b
    return np.ascontiguousarray(pixels[:: d or 1, :: a or 1])


def _sought(opened: Any, stream: Any, seconds: float) -> float:
    """Jump to a frame before `seconds` from the start, from which the next ones can be decoded; the time of the start.

    Where a file does not allow it, decoding goes on from the start.
    """
    began = next((frame.time for frame in opened.decode(stream)), None)
    if began is None:
        raise Unreadable("its frames have no times")
    try:
        opened.seek(round((began + seconds) / stream.time_base), stream=stream)
    except FFmpegError:
        opened.seek(0)
    return float(began)


def _declared(stream: Any) -> float:
    """Duration of the video that a WebM declares; 0: none. For an MP4 the demuxer detects that it is cut off."""
    found = _LENGTH.fullmatch(stream.metadata.get("DURATION", ""))
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else 0.0


def _hungry(error: Exception) -> bool:
    return isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
