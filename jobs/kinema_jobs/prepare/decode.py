"""A recorded video or picture through the limited decoding process: what it is, its shots, and its frames one by one.

Frames are never kept: a window of a video is decoded once for its shots, small, and once more for its clips.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kinema_dataset.cuts import Shot, shots
from kinema_dataset.frames import Image
from kinema_jobs.clip.decoding.limits import WINDOW as WINDOW_LIMITS
from kinema_jobs.clip.decoding.process import DecoderKilled, Probed, Source
from kinema_jobs.train.failures import MemoryExhausted

WINDOW_SECONDS: Final = 120
"""Length of the windows of a long video: what is lost when a worker is killed, and what bounds its memory."""
LARGEST: Final = 8192
"""The longest side in pixels that is decoded."""
SHOTS_AREA: Final = 256 * 144
SHOTS_RATE: Final = 30.0
"""Size and greatest rate at which cuts are looked for."""
UNTOLD_RATE: Final = 25.0
"""Frames per second of a video whose headers do not tell."""
_AS_GOOD: Final = 1.01
"""A rate above the wanted one by less is kept: 24 of 23.976 would repeat frames."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Video:
    """A file that was looked at. `rate` is that at which clips are taken, `seconds` 0 if its headers do not tell."""

    source: Source
    probed: Probed
    rate: float

    @property
    def moving(self) -> bool:
        """Whether it is a video, not a picture."""
        return self.probed.moving

    @property
    def windows(self) -> int:
        """Windows of its length, at least one."""
        return max(1, math.ceil(self.probed.seconds / WINDOW_SECONDS))

    def span(self, window: int, rate: float | None = None) -> tuple[int, int]:
        """First frame of a window and that after its last one, at `rate` or the rate of clips."""
        of = rate or self.rate
        return round(window * WINDOW_SECONDS * of), round((window + 1) * WINDOW_SECONDS * of)

    def shots(self, window: int) -> tuple[Shot, ...]:
        """The shots within a window, in frames at the rate of clips. Raises as `frames`."""
        if not self.moving:
            return (Shot(0, 1),)
        rate = min(self.probed.fps or UNTOLD_RATE, SHOTS_RATE)
        first, end = self.span(window, rate)
        low, high = self.span(window)
        found = shots(self.frames(first, end, SHOTS_AREA, rate), rate)
        moved = (_at_rate(first + shot.first, first + shot.end, rate, self.rate) for shot in found)
        return tuple(Shot(max(a, low), min(b, high)) for a, b in moved if max(a, low) < min(b, high))

    def frames(self, first: int, end: int, area: int, rate: float | None = None) -> Iterator[Image]:
        """Frames [first, end) as displayed, uint8 (H, W, 3), scaled down to about `area` pixels.

        Raises `InputRefused`, and `MemoryExhausted` where the decoding process was killed.
        """
        size = (self.probed.height, self.probed.width)
        try:
            yield from self.source.frames("frames", size, rate or self.rate, first, end, area)
        except DecoderKilled as error:
            raise _memory(error) from None


def opened(path: Path, name: str, most: float) -> Video:
    """Look at a file; `name` is video or picture, `most` the greatest rate of clips. Raises as `Video.frames`."""
    source = Source(name, path, LARGEST, _never, WINDOW_LIMITS)
    try:
        probed = source.probe()
    except DecoderKilled as error:
        raise _memory(error) from None
    rate = probed.fps or (UNTOLD_RATE if probed.moving else most)
    return Video(source, probed, rate if rate <= most * _AS_GOOD else most)


def _at_rate(first: int, end: int, rate: float, wanted: float) -> tuple[int, int]:
    """A span of frames at one rate as that at another: only frames that lie within it for sure.

    Frame k shows what is seen half a frame after k / rate (`Clip.at_rate`).
    """
    ratio = wanted / rate
    return math.ceil((first + 0.5) * ratio - 0.5 - 1e-9), math.floor((end - 0.5) * ratio - 0.5 + 1e-9) + 1


def _memory(error: DecoderKilled) -> MemoryExhausted:
    return MemoryExhausted(f"{error} The decoding process was killed: raise worker.resources memory")
