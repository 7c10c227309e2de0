"""What Preparing knows of a clip, as values that are written as JSON and read back with their bounds checked.

An input is a file in a bucket; a segment is a part of one, and becomes a clip of the dataset if its scores pass.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Pixels = Annotated[int, Field(ge=0, le=1 << 16)]
Share = Annotated[float, Field(ge=0, le=1)]


class Record(BaseModel):
    """Frozen; refuses fields that it does not have, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputFile(Record):
    """A file as the store listed it."""

    uri: Annotated[str, Field(min_length=1, max_length=2048)]
    etag: Annotated[str, Field(max_length=1024)]
    bytes: Annotated[int, Field(ge=0)]


class Segment(Record):
    """One shot, or a part of it: frames [first, end) of the input, decoded at a constant rate."""

    input: Annotated[str, Field(min_length=1, max_length=2048, description="URI of the input file.")]
    first: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=1, description="First frame that is no longer part of it.")]
    fps: Annotated[float, Field(gt=0, le=1000)]
    height: Annotated[int, Field(ge=1, le=1 << 16, description="Rows of a decoded frame, bars included.")]
    width: Annotated[int, Field(ge=1, le=1 << 16, description="Columns of a decoded frame, bars included.")]

    @model_validator(mode="after")
    def _has_frames(self) -> Self:
        if self.end <= self.first:
            raise ValueError("end must be greater than first: a segment has at least one frame")
        return self

    @property
    def frames(self) -> int:
        """Frames of the segment."""
        return self.end - self.first


class Bars(Record):
    """Rows and columns of one colour around the picture, in pixels of the decoded frame (letterbox, pillarbox)."""

    top: Pixels = 0
    bottom: Pixels = 0
    left: Pixels = 0
    right: Pixels = 0

    def share(self, height: int, width: int) -> float:
        """Share of the frame that the bars cover, 0 to 1."""
        inside = max(0, height - self.top - self.bottom) * max(0, width - self.left - self.right)
        return 1 - inside / (height * width)


class Scores(Record):
    """What a clip was measured to be, inside its bars; each field says its unit."""

    motion: Annotated[float, Field(ge=0, description="Movement per frame, as a share of the shorter side.")]
    stillness: Annotated[Share, Field(description="Share of frames that repeat the frame before them.")]
    sharpness: Annotated[Share, Field(description="Share of detail that a second blur would remove, best tiles.")]
    brightness: Annotated[Share, Field(description="Mean luma: 0 is black, 1 is white.")]
    text: Annotated[Share, Field(description="Share of the frame that lines of overlaid text cover.")]
    letterbox: Annotated[Share, Field(description="Share of the frame that bars cover.")]
    bars: Annotated[Bars, Field(description="The bars to crop before the clip is used.")] = Bars()


class Filter(StrEnum):
    """What can drop a clip, in the order in which they are asked: the first one that drops gives the reason."""

    LENGTH = "length"
    LETTERBOX = "letterbox"
    BRIGHTNESS = "brightness"
    STILLNESS = "stillness"
    MOTION = "motion"
    SHARPNESS = "sharpness"
    TEXT = "text"
    DUPLICATE = "duplicate"


class Verdict(Record):
    """Whether a clip is kept; if not, by which filter, and a sentence with the measured value and the threshold."""

    kept: bool
    reason: str | None = None
    filter: Filter | None = None

    @model_validator(mode="after")
    def _has_a_reason(self) -> Self:
        if self.kept != (self.reason is None) or self.kept != (self.filter is None):
            raise ValueError("a dropped clip has both a reason and a filter, a kept one has neither")
        return self


KEPT = Verdict(kept=True)


def dropped(by: Filter, reason: str) -> Verdict:
    """The verdict on a clip that `by` drops."""
    return Verdict(kept=False, reason=reason, filter=by)
