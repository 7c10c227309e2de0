"""The output files of a clip: an MP4 that plays everywhere, a thumbnail, and a contact sheet of all frames.

A server and `kinema generate --local` run the same code, so both write the same files. The formats are explained in
docs/decisions/0007-media.md.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from av.video.stream import VideoStream
from PIL import Image

from kinema_api import layout
from kinema_model.errors import ShapeError

Video = npt.NDArray[np.uint8]

MIN_SIDE: Final = 16
"""Smallest height or width: one macroblock of H.264."""
MAX_FPS: Final = 240
FINE_CRF: Final = 12
"""x264's constant rate factor for small frames, where every pixel is visible."""
USUAL_CRF: Final = 18
"""The same for large frames; hardly distinguishable from the original."""
FINE_PIXELS: Final = 256 * 256
LARGE_FRAME_THREADS: Final = 4
THUMBNAIL_SIDE: Final = 256
"""Smallest side of the still, where the frame's shape allows it."""
THUMBNAIL_LONGEST: Final = 512
"""Largest side of the still, whatever the frame's size and shape."""
TILE_SIDE: Final = 96
"""Smallest side of one frame on the contact sheet, unless there are too many frames for it."""
SHEET_SIDE: Final = 4096
"""Largest side of the contact sheet; WebP ends at 16383."""
SHEET_GAP: Final = 2
SHEET_BACKGROUND: Final = 24
WEBP_QUALITY: Final = 90
_MAX_DENOMINATOR: Final = 1001  # as in 30000/1001
_VERSIONED: Final = ("kinema", "torch", "av", "numpy", "pillow")


def write_artefacts(video: Video, fps: float, folder: Path, request: dict[str, Any]) -> list[Path]:
    """Write all artefacts of a generation into `folder`; the video comes first.

    video is uint8 (T, H, W, 3), fps frames per second, request the content of request.json. Raises `ShapeError`.
    """
    files = [folder / n for n in (layout.VIDEO, layout.THUMBNAIL, layout.SPRITESHEET, layout.REQUEST)]
    write_mp4(video, fps, files[0])
    files[1].write_bytes(thumbnail(video))
    files[2].write_bytes(contact_sheet(video))
    files[3].write_text(json.dumps({**request, "versions": versions()}, indent=2, sort_keys=True) + "\n")
    return files


def check_frame_size(height: int, width: int) -> None:
    """Raise `ShapeError` unless frames of this size in pixels can be encoded."""
    if height % 2 or width % 2:
        raise ShapeError(f"{width}x{height} cannot be encoded as H.264: use an even width and height.")
    if min(height, width) < MIN_SIDE:
        raise ShapeError(f"{width}x{height} is too small to encode: use at least {MIN_SIDE}x{MIN_SIDE} pixels.")


def write_mp4(video: Video, fps: float, path: Path) -> None:
    """Write uint8 (T, H, W, 3) as H.264 in MP4, playable while it downloads (moov before mdat).

    The clip lasts exactly T / fps seconds and keeps its size; colours are BT.709, the default of every player.
    The bytes depend on the pixels and the versions of the encoder alone. Raises `ShapeError`.
    """
    _check(video, fps)
    rate = Fraction(fps).limit_denominator(_MAX_DENOMINATOR)
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=rate)
        _configure(stream, video.shape[1], video.shape[2], rate)
        for index, pixels in enumerate(video):
            frame = _to_yuv(np.ascontiguousarray(pixels))
            frame.pts, frame.time_base, frame.duration = index, 1 / rate, 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _check(video: Video, fps: float) -> None:
    if video.ndim != 4 or video.shape[3] != 3 or video.dtype != np.uint8 or not len(video):
        raise ShapeError(
            f"A clip of shape {video.shape} and type {video.dtype} cannot be encoded: give uint8 (T, H, W, 3)."
        )
    if not 0 < fps <= MAX_FPS:
        raise ShapeError(f"{fps} frames per second cannot be encoded: use more than 0 and at most {MAX_FPS}.")
    check_frame_size(video.shape[1], video.shape[2])


def _configure(stream: VideoStream, height: int, width: int, rate: Fraction) -> None:
    context = stream.codec_context
    context.height, context.width, context.pix_fmt = height, width, "yuv420p"
    context.time_base = 1 / rate
    context.colorspace, context.color_range = int(Colorspace.ITU709), int(ColorRange.MPEG)
    context.color_primaries, context.color_trc = int(ColorPrimaries.BT709), int(ColorTrc.BT709)
    crf, threads = (FINE_CRF, 1) if height * width <= FINE_PIXELS else (USUAL_CRF, LARGE_FRAME_THREADS)
    # A fixed number of threads: the encoder's default would make the bytes depend on the machine.
    context.options = {"crf": str(crf), "preset": "medium", "threads": str(threads), "flags": "+bitexact"}


def _to_yuv(pixels: Video) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    return frame.reformat(
        format="yuv420p",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
        dst_color_trc=ColorTrc.BT709,
        dst_color_primaries=ColorPrimaries.BT709,
    )


def thumbnail(video: Video) -> bytes:
    """The middle frame of uint8 (T, H, W, 3) as WebP, at most THUMBNAIL_LONGEST pixels on a side.

    Small frames grow by whole factors, so pixels stay sharp.
    """
    frame = video[len(video) // 2]
    room = THUMBNAIL_LONGEST / max(frame.shape[:2])
    scale = min(int(room) if room >= 1 else room, max(1, math.ceil(THUMBNAIL_SIDE / min(frame.shape[:2]))))
    return _webp(_scaled(frame, scale), lossless=scale > 1)


def contact_sheet(video: Video) -> bytes:
    """All frames of uint8 (T, H, W, 3) in reading order on one WebP."""
    count, height, width = video.shape[:3]
    columns = _columns(count, height, width)
    rows = math.ceil(count / columns)
    scale = _tile_scale((height, width), (rows, columns))
    tile_h, tile_w = _scaled_side(height, scale) + SHEET_GAP, _scaled_side(width, scale) + SHEET_GAP
    size = (columns * tile_w + SHEET_GAP, rows * tile_h + SHEET_GAP)
    sheet = Image.new("RGB", size, (SHEET_BACKGROUND,) * 3)
    for index, frame in enumerate(video):
        row, column = divmod(index, columns)
        sheet.paste(_scaled(frame, scale), (SHEET_GAP + column * tile_w, SHEET_GAP + row * tile_h))
    return _webp(sheet, lossless=scale > 1)


def _columns(count: int, height: int, width: int) -> int:
    """Number of columns that makes the sheet about square."""
    return min(count, max(1, round(math.sqrt(count * height / width))))


def _tile_scale(sides: tuple[int, int], cells: tuple[int, int]) -> float:
    """How much a frame grows (a whole factor) or shrinks so that every tile is legible and the sheet fits."""
    room = min(((SHEET_SIDE - SHEET_GAP) / n - SHEET_GAP) / side for side, n in zip(sides, cells, strict=True))
    scale = min(room, max(1, math.ceil(TILE_SIDE / min(sides))))
    return int(scale) if scale >= 1 else scale


def _scaled_side(side: int, scale: float) -> int:
    return max(1, int(side * scale))


def _scaled(frame: Video, scale: float) -> Image.Image:
    """uint8 (H, W, 3) as an image; enlarging repeats pixels."""
    image = Image.fromarray(frame)
    if scale == 1:
        return image
    filtering = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return image.resize((_scaled_side(frame.shape[1], scale), _scaled_side(frame.shape[0], scale)), filtering)


def _webp(image: Image.Image, *, lossless: bool) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", lossless=lossless, quality=WEBP_QUALITY)
    return out.getvalue()


def versions() -> dict[str, str]:
    """Versions of the packages that determine the bytes, as far as they are known."""
    found: dict[str, str] = {}
    for name in _VERSIONED:
        with contextlib.suppress(PackageNotFoundError):  # code run from a checkout has no metadata
            found[name] = version(name)
    return found
