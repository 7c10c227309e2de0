"""Clips on the page: moving where the reader's system allows motion, and all of them as a strip of frames."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Final

import numpy as np
from PIL import Image

from kinema_evaluation import Sheet, Shown
from kinema_world import Video

_FRAMES: Final = 8
_GAP: Final = 1
_SECOND: Final = 1000
# The strip beside it shows every pixel as it is.
_QUALITY: Final = 80


def sheet_html(sheet: Sheet) -> str:
    """All clips of a sheet with their labels."""
    cards = "".join(_card(shown) for shown in sheet.shown)
    return f'<h3>{escape(sheet.title)}</h3><div class="sheet">{cards}</div>'


def _card(shown: Shown) -> str:
    mark = (
        ""
        if shown.good is None
        else f'<b class="{"good" if shown.good else "poor"}">{"right" if shown.good else "wrong"}</b> '
    )
    still = f'<img class="strip" alt="frames of the clip" src="{_uri(strip(shown.video))}">'
    height, width = shown.video.shape[1:3]
    moving = (
        f'<picture><source media="(prefers-reduced-motion: reduce)" srcset="{_uri(_still(shown.video))}">'
        f'<img class="clip" width="{width}" height="{height}" alt="{escape(shown.label)}" '
        f'src="{_uri(animation(shown.video, shown.fps))}"></picture>'
    )
    return f"<figure>{moving}{still}<figcaption>{mark}{escape(shown.label)}</figcaption></figure>"


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
