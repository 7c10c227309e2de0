"""Errors of the decoding process, with messages for the user who gave the file."""

from __future__ import annotations

from typing import Final

ACCEPTED: Final = "Give an MP4, a WebM, a PNG, a JPEG, a WebP or an AVIF."


class Refused(Exception):
    """A file is refused; `str(error)` is a sentence with a remedy that quotes nothing of the file."""


class Unreadable(Exception):
    """A file is broken or of an unknown kind; `str(error)` says so in a few words."""


def unreadable(name: str, why: str) -> Refused:
    """The refusal of a file that no decoder can read."""
    return Refused(f"The {name} cannot be read ({why}). {ACCEPTED}")


def too_large(name: str, width: int, height: int, largest: int) -> Refused:
    """The refusal of a file whose frames are larger than any clip of the model."""
    return Refused(f"The {name} is {width}x{height} and this model's clips are at most {largest}. Scale it down.")
