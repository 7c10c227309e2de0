"""Errors of the decoding process, with messages for the user who gave the file."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

RECORDED: Final = ("video", "picture")
"""What files are called that no model has asked for yet."""
ACCEPTED: Final = "Give an MP4, a WebM, a PNG, a JPEG, a WebP or an AVIF."


class Reason(StrEnum):
    """What refusals of files are counted by."""

    DAMAGED = "damaged or unknown file"
    KIND = "unsupported kind of file"
    CODEC = "unsupported codec"
    NO_VIDEO = "no video"
    HDR = "HDR"
    COLOUR = "uncommon colours"
    INTERLACED = "interlaced"
    TRANSPARENT = "transparent"
    TURNED = "turned by no right angle"
    CROPPED = "clean aperture"
    TOO_LARGE = "too large"
    LIMIT = "too much memory or time"


class Refused(Exception):
    """A file is refused; `str(error)` is a sentence with a remedy that quotes nothing of the file."""

    def __init__(self, sentence: str, reason: Reason = Reason.KIND) -> None:
        super().__init__(sentence)
        self.reason = reason


class Unreadable(Exception):
    """A file is broken or of an unknown kind; `str(error)` says so in a few words."""


def unreadable(name: str, why: str) -> Refused:
    """The refusal of a file that no decoder can read."""
    return Refused(f"The {name} cannot be read ({why}). {ACCEPTED}", Reason.DAMAGED)


def too_large(name: str, width: int, height: int, largest: int) -> Refused:
    """The refusal of a file whose frames are larger than any clip of the model, or than any that is prepared."""
    most = "at most" if name in RECORDED else "this model's clips are at most"
    return Refused(f"The {name} is {width}x{height} and {most} {largest}. Scale it down.", Reason.TOO_LARGE)
