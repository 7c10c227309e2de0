"""What reasons mean and what to do about them, and figures as text."""

from __future__ import annotations

import re
from typing import Final

from kinema_dataset.issues import Reason as CaptionReason
from kinema_dataset.records import Filter
from kinema_jobs.clip.decoding.errors import Reason as FileReason
from kinema_jobs.prepare.joining import CHANGED

MEANINGS: Final[dict[str, str]] = {
    Filter.LENGTH: "Shots with fewer frames than filters.minFrames, at the rate of clips.",
    Filter.LETTERBOX: "Bars cover more of the frame than filters.maxLetterbox. Smaller bars are cropped.",
    Filter.BRIGHTNESS: "Nearly black or nearly white: outside of filters.minBrightness and maxBrightness.",
    Filter.STILLNESS: "Most frames repeat the one before: slide shows and frozen streams (filters.maxStillness).",
    Filter.MOTION: "Next to nothing moves, or everything shakes (filters.minMotion and maxMotion).",
    Filter.SHARPNESS: "Blurred, or enlarged from something small (filters.minSharpness).",
    Filter.TEXT: "Titles, subtitles or watermarks cover more than filters.maxText; a model would write letters.",
    Filter.DUPLICATE: "Near-duplicates of clips that are kept, also cropped, mirrored or shifted (filters.duplicates).",
    CaptionReason.MISSING: "Nothing tells what they show. Add NAME.txt beside a file, or set captions.endpoint.",
    CaptionReason.NOT_A_CLIP: "Files that are neither a video, a picture, a tar nor captions.",
    CaptionReason.EMPTY_FILE: "Files without a byte.",
    CaptionReason.BAD_NAME: "Names that no caption and no dataset can hold.",
    CaptionReason.UNREADABLE: "Tars and tables that break off or are none.",
    CaptionReason.DUPLICATE: "Named twice; the first one counts.",
    FileReason.DAMAGED: "Truncated or damaged, or no video at all. Of a file that breaks off nothing is used.",
    FileReason.HDR: "Colours that would look washed out. Convert to SDR (BT.709).",
    FileReason.INTERLACED: "Deinterlace first: ffmpeg -i IN -vf bwdif OUT.",
    FileReason.TRANSPARENT: "A clip has no background. Flatten it.",
    FileReason.LIMIT: "Took more memory or time than a decoder gets.",
    CHANGED: "Another version was written meanwhile. Prepare again to use it.",
}


def meaning(reason: str) -> str:
    """What a reason means, in a sentence; empty where its name says it."""
    return MEANINGS.get(reason, "")


def as_in_spec(sentence: str) -> str:
    """A sentence with thresholds named as in a spec: maxText for max_text."""
    return re.sub(r"\((min|max)_([a-z])", lambda found: f"(filters.{found[1]}{found[2].upper()}", sentence)


def duration(seconds: float) -> str:
    """A length for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def share(part: float, whole: float) -> str:
    """A share in per cent."""
    return f"{100 * part / whole:.0f} %" if whole else "none"


def size(count: int) -> str:
    """Bytes for people."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    value, unit = float(count), 0
    while value >= 1024 and unit < len(units) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {units[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {units[unit]}"


def figure(value: float) -> str:
    """A measure with three digits."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
