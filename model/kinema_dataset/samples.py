"""What is recorded of a sample: where it comes from, what is said of it, and where its tensors lie."""

import json
import math
from hashlib import sha256
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from kinema_dataset.errors import BrokenDataset
from kinema_dataset.records import Record, Scores, Segment
from kinema_model.source import Captions

ITEM_BYTES: Final = {"U8": 1, "F16": 2, "BF16": 2, "F32": 4, "I64": 8}
"""Bytes of an element by its name in the safetensors format."""
MAX_SAMPLE_BYTES: Final = 4 << 30
"""Longest sample: 2,000 frames of 1024 x 682 px as uint8."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,127}$")]
Text = Annotated[str, Field(min_length=1, max_length=16384)]
Size = Annotated[int, Field(ge=1, le=1 << 16)]


class SampleShape(Record):
    """Size of a stored clip in pixels, whatever its tensors are; a `kinema_model.source.Shape`."""

    frames: Size
    height: Size
    width: Size
    fps: Annotated[float, Field(gt=0, le=1000)]


class StoredCaptions(Record):
    """A `kinema_model.source.Captions` as it is written."""

    short: Text
    rich: Text
    shots: Annotated[tuple[Text, ...], Field(min_length=1, max_length=1024)]

    @classmethod
    def of(cls, captions: Captions) -> Self:
        """Raises pydantic's `ValidationError` where one is empty or too long."""
        return cls(short=captions.short, rich=captions.rich, shots=captions.shots)

    def captions(self) -> Captions:
        """The captions as a training takes them."""
        return Captions(self.short, self.rich, self.shots)


class About(Record):
    """What is known of a sample beside its tensors.

    `segment` is the part of the input that it was made of and `etag` the version of the input; `starts` are the first
    frames of its shots, 0 foremost, as many as `captions.shots`.
    """

    segment: Segment
    etag: Annotated[str, Field(max_length=1024)] = ""
    shape: SampleShape
    captions: StoredCaptions
    starts: tuple[int, ...] = (0,)
    scores: Scores | None = None

    @model_validator(mode="after")
    def _shots_begin_in_order(self) -> Self:
        starts = self.starts
        if starts[:1] != (0,) or list(starts) != sorted(set(starts)) or starts[-1] >= self.shape.frames:
            raise ValueError("starts must begin with 0, ascend and lie within the clip: give each shot's first frame")
        if len(starts) != len(self.captions.shots):
            raise ValueError("captions.shots must have one caption for each of starts: give as many")
        return self


class TensorEntry(Record):
    """A tensor of a sample: `dtype` as in the safetensors format."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]{0,63}$")]
    dtype: Literal["U8", "F16", "BF16", "F32", "I64"]
    shape: Annotated[tuple[Annotated[int, Field(ge=1, le=1 << 32)], ...], Field(min_length=1, max_length=8)]

    @property
    def bytes(self) -> int:
        """Bytes of all its elements."""
        return ITEM_BYTES[self.dtype] * math.prod(self.shape)


class SampleRecord(Record):
    """A sample in a shard: its tensors are the `length` bytes from `first` on, one after the other, without gaps."""

    about: About
    tensors: Annotated[tuple[TensorEntry, ...], Field(min_length=1, max_length=64)]
    shard: FileName
    first: Annotated[int, Field(ge=0)]
    length: Annotated[int, Field(ge=1, le=MAX_SAMPLE_BYTES)]
    sha256: Sha256

    @model_validator(mode="after")
    def _bytes_are_those_of_its_tensors(self) -> Self:
        if sum(entry.bytes for entry in self.tensors) != self.length:
            raise ValueError("length must be the sum of the tensors' bytes: prepare the dataset again")
        if len({entry.name for entry in self.tensors}) != len(self.tensors):
            raise ValueError("tensors must have different names: prepare the dataset again")
        return self

    @property
    def identity(self) -> tuple[str, int, int]:
        """What a dataset has once: the segment that the sample was made of."""
        segment = self.about.segment
        return segment.input, segment.first, segment.end

    def content_digest(self) -> str:
        """sha256 in hex of what a training sees of it, wherever it lies: without shard, scores and etag."""
        seen = self.model_dump(mode="json", exclude={"shard": True, "first": True, "about": {"scores", "etag"}})
        return sha256(canonical(seen)).hexdigest()

    def to_line(self) -> bytes:
        """One line of JSON, with its end; equal records have equal lines."""
        return canonical(self.model_dump(mode="json")) + b"\n"

    @classmethod
    def from_line(cls, line: bytes, where: str) -> Self:
        """Read what `to_line` wrote; `where` names it in the error. Raises `BrokenDataset`."""
        try:
            return cls.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            at = ".".join(map(str, first["loc"])) or "record"
            raise BrokenDataset(f"{where}: {at}: {first['msg']}. Prepare the dataset again.") from None


def canonical(value: Any) -> bytes:
    """JSON of one form: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
