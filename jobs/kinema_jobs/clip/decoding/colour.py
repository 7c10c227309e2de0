"""Accepts colours in SDR and refuses HDR.

PQ, HLG and linear light look washed out or black if they are read as BT.709. Converting them to SDR (tone mapping) is a
matter of taste, which is left to the author of the file.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Final

import av
from av.error import FFmpegError
from av.video.reformatter import Colorspace

from kinema_jobs.clip.decoding.errors import Reason, Refused

_BRIGHT: Final = {8: "linear light", 9: "log", 10: "log", 16: "HDR (PQ)", 17: "SMPTE 428", 18: "HDR (HLG)"}
"""Transfer characteristics of ITU-T H.273 that are not SDR."""
_DOLBY_VISION: Final = ("dvh1", "dvhe", "dva1", "dvav", "dav1")
_MATRICES: Final = {
    0: Colorspace.ITU709,  # RGB: not used
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
_UNSAID: Final = (2, 3)
_HD: Final = (1280, 576)
"""From this width, or above this height, an unspecified matrix is BT.709, else BT.601, as in players."""


def check_transfer(name: str, *codes: Any) -> None:
    """Raise `Refused` for transfer characteristics that are not those of SDR."""
    for code in codes:
        if (bright := _BRIGHT.get(int(code or 0))) is not None:
            raise Refused(_sentence(name, bright), Reason.HDR)


def check_clip(name: str, context: Any) -> None:
    """Raise `Refused` where a clip's headers say that it is HDR."""
    check_transfer(name, context.color_trc)
    if context.codec_tag in _DOLBY_VISION:
        raise Refused(_sentence(name, "HDR (Dolby Vision)"), Reason.HDR)


def matrix(name: str, frame: Any) -> Colorspace:
    """The matrix from YCbCr to RGB of a frame. Raises `Refused` for an unsupported one."""
    code = int(frame.colorspace)
    if code in _UNSAID:
        hd = frame.width >= _HD[0] or frame.height > _HD[1]
        return Colorspace.ITU709 if hd else Colorspace.ITU601
    if (found := _MATRICES.get(code)) is None:
        sentence = f"The {name} has colours in an uncommon form (matrix {code} of H.273). Save it in BT.709."
        raise Refused(sentence, Reason.COLOUR)
    return found


def check_still(name: str, path: Path) -> None:
    """Raise `Refused` for an AVIF in HDR, which Pillow would decode as if it were not."""
    try:
        with av.open(str(path), format="mp4", options={"protocol_whitelist": "file", "enable_drefs": "0"}) as opened:
            for stream in opened.streams.video:
                if stream.codec_context is not None:
                    check_transfer(name, stream.codec_context.color_trc)
    except (FFmpegError, ValueError):
        return  # Pillow reports the error when it opens the file


def check_png(name: str, path: Path) -> None:
    """Raise `Refused` for a PNG whose cICP chunk says HDR."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"cICP":
                check_transfer(name, file.read(2)[1])
                return
            if kind in (b"IDAT", b"IEND"):
                return
            file.seek(length + 4, 1)


def _sentence(name: str, what: str) -> str:
    return f"The {name} is in {what}, and only SDR is supported. Convert it to SDR (BT.709) first."
