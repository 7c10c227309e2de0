"""Decodes pictures and masks as a viewer shows them: upright, in 8 bits of sRGB, with transparency on white."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms

from kinema_jobs.clip.decoding import colour
from kinema_jobs.clip.decoding.errors import Refused, Unreadable, too_large
from kinema_jobs.clip.decoding.sizes import scaled

Pixels = npt.NDArray[np.uint8]

_WHITE: Final = 128
_CLEAR: Final = 64
"""How far from black or white a pixel of a mask may be: soft edges and JPEG produce such pixels."""
_UNCLEAR_SHARE: Final = 0.25
_PAINT: Final = "Paint white what is to be regenerated"
_BACKGROUND: Final = (255, 255, 255, 255)
_DEEP: Final = ("I;16", "I;16B", "I;16L", "I;16N", "I")
"""Pillow's modes for 16 bits of grey."""
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its EXIF orientation."""
_LYING: Final = (5, 6, 7, 8)
_PNG_HEAD: Final = 33
"""Signature and IHDR."""

# Sizes are compared with the model's before decoding, so Pillow's own limit is not needed.
Image.MAX_IMAGE_PIXELS = None


def open_picture(name: str, path: Path, format_: str, largest: int) -> Image.Image:
    """A picture whose header has been read, turned upright when it is decoded. Raises `Refused` and `Unreadable`."""
    try:
        picture: Image.Image = Image.open(path, formats=(format_,))
    except Exception as error:  # Pillow raises many kinds of errors for malformed bytes
        raise _broken(error) from None
    # A JPEG with several pictures is a photo with previews; other formats with several are animations.
    if format_ != "JPEG" and getattr(picture, "n_frames", 1) > 1:
        raise Refused(f"The {name} is an animated picture. Give a clip as MP4 or WebM, or a single picture.")
    if max(picture.size) > largest:
        raise too_large(name, *picture.size, largest)
    if format_ == "AVIF":
        colour.check_still(name, path)
    elif format_ == "PNG":
        colour.check_png(name, path)
    return picture


def shown_size(picture: Image.Image) -> tuple[int, int]:
    """(height, width) as it is seen upright. Raises `Unreadable`."""
    width, height = picture.size
    return (width, height) if _orientation(picture) in _LYING else (height, width)


def frame(name: str, path: Path, format_: str, largest: int, area: int | None = None) -> Pixels:
    """The picture, uint8 (H, W, 3), scaled down to about `area` pixels. Raises `Refused` and `Unreadable`."""
    shown = _upright(open_picture(name, path, format_, largest), path)
    flat = Image.alpha_composite(Image.new("RGBA", shown.size, _BACKGROUND), shown).convert("RGB")
    height, width = scaled(flat.height, flat.width, area)
    return np.asarray(flat if flat.size == (width, height) else flat.resize((width, height), Image.Resampling.LANCZOS))


def mask(name: str, path: Path, format_: str, largest: int) -> Pixels:
    """A mask, uint8 (H, W), 255 where the clip is regenerated and 0 where it stays.

    White is regenerated and black stays. In a picture whose opaque part is all black, the transparent part is
    regenerated: it can mean nothing else. Raises `Refused`, for any other transparency too, and `Unreadable`.
    """
    shown = np.asarray(_upright(open_picture(name, path, format_, largest), path))
    colours, hole = shown[..., :3], shown[..., 3] < _WHITE
    if (shown[..., 3] < 255).any():
        if hole.all() or (colours.max(axis=2) > _CLEAR)[~hole].any():
            raise Refused(
                "The mask is transparent in places, and whether the holes or what is painted is meant cannot be told. "
                f"Save it without transparency. {_PAINT} and black what stays."
            )
        marked = hole
    else:
        unclear = ((colours.max(axis=2) > _CLEAR) & (colours.min(axis=2) < 255 - _CLEAR)).mean()
        if unclear > _UNCLEAR_SHARE:
            raise Refused(
                f"The mask is not black and white: {unclear:.0%} of its pixels are neither. {_PAINT} and black what "
                "stays."
            )
        marked = np.asarray(Image.fromarray(colours).convert("L")) >= _WHITE
    if not marked.any():
        raise Refused(f"The mask has no white pixel. {_PAINT}.")
    return np.where(marked, np.uint8(255), np.uint8(0))


def _upright(picture: Image.Image, path: Path) -> Image.Image:
    """The picture as RGBA, turned by its EXIF orientation."""
    try:
        turn = _TURNS.get(_orientation(picture))
        deep_alpha = _deep_alpha(picture, path)
        rgba = _in_srgb(_shallow(picture)).convert("RGBA")
        if deep_alpha is not None:
            rgba.putalpha(deep_alpha)
        return rgba if turn is None else rgba.transpose(turn)
    except Exception as error:  # as above
        raise _broken(error) from None


def _orientation(picture: Image.Image) -> Any:
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # as above
        raise _broken(error) from None


def _shallow(picture: Image.Image) -> Image.Image:
    """Converts 16 bits of grey to 8; Pillow's own conversion clips them."""
    if picture.mode not in _DEEP:
        return picture
    grey = Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8))
    return grey


def _deep_alpha(picture: Image.Image, path: Path) -> Image.Image | None:
    """Pixels of the colour that a PNG declares transparent, at the bit depth of the file.

    Pillow compares that colour with 8 bits, so it finds the wrong pixels in files of any other depth.
    """
    named: Any = picture.info.get("transparency")
    if picture.format != "PNG" or picture.mode not in (*_DEEP, "L", "RGB") or named is None:
        return None
    with path.open("rb") as file:
        bits = file.read(_PNG_HEAD)[24]
    if bits == 8 or isinstance(named, bytes):
        return None
    pixels = np.asarray(picture)
    if picture.mode in _DEEP:
        found = pixels == named
    elif picture.mode == "L":
        found = pixels == round(named * 255 / (2**bits - 1))
    else:
        found = (pixels == [value >> 8 for value in named]).all(axis=2)
    picture.info.pop("transparency")
    return Image.fromarray(np.where(found, np.uint8(0), np.uint8(255)))


def _in_srgb(picture: Image.Image) -> Image.Image:
    """Converts colours from the picture's ICC profile; a profile that cannot be used is ignored."""
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in ("RGB", "RGBA", "CMYK"):
        return picture
    try:
        given = ImageCms.getOpenProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(given).lower():
            return picture
        mode = "RGBA" if picture.mode == "RGBA" else "RGB"
        made = ImageCms.profileToProfile(picture, given, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture
    return picture if made is None else made


def _broken(error: Exception) -> Unreadable | Refused:
    return error if isinstance(error, (Unreadable, Refused)) else Unreadable(type(error).__name__)
