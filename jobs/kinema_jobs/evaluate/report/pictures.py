"""Clips on the page: animated if the reader's system allows motion, and always as a strip of frames."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from kinema_evaluation import ReportClip
from kinema_world import Video

_FRAMES: Final = 8
_GAP: Final = 1
_SECOND: Final = 1000
# The strip beside it shows every pixel as it is.
_QUALITY: Final = 80


@dataclass(frozen=True)
class ShownClip:
    """A clip on the page; pictures are data URIs."""

    label: str
    good: bool | None
    width: int
    height: int
    moving: str
    still: str
    """For readers whose system allows no motion."""
    strip: str


def shown_clip(shown: ReportClip) -> ShownClip:
    """A clip with its pictures."""
    height, width = shown.video.shape[1:3]
    return ShownClip(
        label=shown.label,
        good=shown.good,
        width=width,
        height=height,
        moving=_uri(animation(shown.video, shown.fps)),
        still=_uri(_still(shown.video)),
        strip=_uri(strip(shown.video)),
    )


def strip(video: Video) -> bytes:
    """Up to eight frames of uint8 (T, H, W, 3) side by side, as lossless WebP."""
    chosen = video[np.linspace(0, len(video) - 1, min(_FRAMES, len(video))).round().astype(int)]
    height, width = video.shape[1:3]
    sheet = np.full((height, len(chosen) * (width + _GAP) - _GAP, 3), 128, dtype=np.uint8)
    for place, frame in enumerate(chosen):
        sheet[:, place * (width + _GAP) :][:, :width] = frame
    return _webp(Image.fromarray(sheet))


def animation(video: Video, fps: float) -> bytes:
    """The clip uint8 (T, H, W, 3) as a looping WebP of so many frames per second."""
    images = [Image.fromarray(frame) for frame in video]
    out = io.BytesIO()
    images[0].save(
        out, "WEBP", lossless=True, save_all=True, append_images=images[1:], duration=round(_SECOND / fps), loop=0
    )
    return out.getvalue()


def _still(video: Video) -> bytes:
    return _webp(Image.fromarray(video[len(video) // 2]))


def _webp(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", lossless=True)
    return out.getvalue()


def _uri(data: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(data).decode()
