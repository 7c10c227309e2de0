"""Detects the kind of a file by its first bytes, so that only the decoder for that kind reads it.

Demuxers that open other files or URLs named in a playlist are never used. The refusal of a common but unsupported kind
names that kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from kinema_jobs.clip.decoding.errors import Refused, Unreadable

HEAD_BYTES: Final = 512
"""Enough for the list of brands of an ISO file."""
_HEIF_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_QUICKTIME: Final = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""First boxes of a QuickTime file, which needs no ftyp."""
_NAMED: Final = (
    (0, b"GIF8", "a GIF"),
    (0, b"BM", "a BMP"),
    (0, b"II*\0", "a TIFF"),
    (0, b"MM\0*", "a TIFF"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (4, b"JXL ", "a JPEG XL"),
    (4, b"jP  ", "a JPEG 2000"),
    (8, b"AVI ", "an AVI"),
    (8, b"WAVE", "a sound"),
    (0, b"FLV\1", "a Flash video"),
    (0, b"OggS", "an Ogg file"),
    (0, b"ID3", "a sound"),
    (0, b"fLaC", "a sound"),
    (0, b"\0\0\1\xba", "an MPEG program stream"),
    (0, b"%PDF", "a PDF"),
)


@dataclass(frozen=True)
class Kind:
    """How a file is read: by Pillow as `format`, or by this demuxer of FFmpeg."""

    reader: Literal["picture", "clip"]
    format: str


def kind_of(name: str, head: bytes) -> Kind:
    """The kind of a file by its first bytes. Raises `Refused` for a known unsupported kind, else `Unreadable`."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Kind("picture", "PNG")
    if head.startswith(b"\xff\xd8\xff"):
        return Kind("picture", "JPEG")
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return Kind("picture", "WEBP")
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return Kind("clip", "matroska")
    if head[4:8] == b"ftyp":
        return _iso(name, _brands(head))
    if head[4:8] in _QUICKTIME:
        return Kind("clip", "mp4")
    for at, magic, what in _NAMED:
        if head[at:].startswith(magic):
            raise Refused(
                f"The {name} is {what}, which is not supported. Save it as an MP4 or a WebM, or a still as a PNG "
                "or a JPEG."
            )
    raise Unreadable("its format is unknown")


def _iso(name: str, brands: list[bytes]) -> Kind:
    if b"avif" in brands or b"avis" in brands:
        return Kind("picture", "AVIF")
    if _HEIF_BRANDS.intersection(brands):
        raise Refused(f"The {name} is a HEIC picture, which is not supported. Save it as a JPEG, a PNG or an AVIF.")
    return Kind("clip", "mp4")


def _brands(head: bytes) -> list[bytes]:
    """The major brand and the compatible ones of an ftyp box, as far as the head goes."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return [head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))]
