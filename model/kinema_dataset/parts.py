"""The outcome of preparing one input, as it is kept: so that no worker and no later training does it again.

A part holds everything that joining needs, so that nothing of an input is read twice: for each clip its scores, where
its tensors lie and a signature, or the reason why it was dropped. Captions from files are not in it: they may change,
and the pixels stay.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from kinema_dataset.errors import BrokenDataset
from kinema_dataset.issues import shown
from kinema_dataset.records import Filter, Record, Scores, Segment
from kinema_dataset.samples import (
    MAX_SAMPLE_BYTES,
    About,
    FileName,
    SampleRecord,
    SampleShape,
    Sha256,
    StoredCaptions,
    TensorEntry,
    canonical,
)
from kinema_dataset.signature import CELLS, COLOURS, MOST, Signature

Count = Annotated[int, Field(ge=0, le=10**15)]
Sentence = Annotated[str, Field(max_length=1024)]


class StoredSignature(Record):
    """A `Signature` as it is written: its arrays compressed, in base64."""

    samples: Annotated[int, Field(ge=1, le=MOST)]
    luma: Annotated[str, Field(max_length=1 << 17)]
    colour: Annotated[str, Field(max_length=1 << 12)]

    @classmethod
    def of(cls, signature: Signature) -> Self:
        """What `signature` gives back."""
        luma, colour = (
            b64encode(zlib.compress(array.tobytes(), 6)).decode() for array in (signature.luma, signature.colour)
        )
        return cls(samples=len(signature.luma), luma=luma, colour=colour)

    def signature(self) -> Signature:
        """The signature. Raises ValueError where bytes were changed."""
        luma = np.frombuffer(_unpacked(self.luma, self.samples * CELLS**2), np.uint8)
        colour = np.frombuffer(_unpacked(self.colour, 2 * COLOURS**2 * 4), np.float32)
        return Signature(luma.reshape(self.samples, CELLS, CELLS), colour.reshape(2, COLOURS, COLOURS))


class Stored(Record):
    """Where the tensors of a clip lie; fields as in `SampleRecord`."""

    tensors: Annotated[tuple[TensorEntry, ...], Field(min_length=1, max_length=64)]
    shard: FileName
    first: Count
    length: Annotated[int, Field(ge=1, le=MAX_SAMPLE_BYTES)]
    sha256: Sha256
    shape: SampleShape
    signature: StoredSignature


class PartClip(Record):
    """A clip of an input: stored, or dropped by a filter or for want of a caption, with a sentence."""

    segment: Segment
    scores: Scores | None = None
    """None: it was dropped before anything was measured."""
    stored: Stored | None = None
    captions: StoredCaptions | None = None
    """What a captioner answered; None: nobody was asked."""
    filter: Filter | None = None
    uncaptioned: Annotated[str, Field(max_length=63)] | None = None
    """Why the captioner gave no caption."""
    sentence: Sentence = ""

    @model_validator(mode="after")
    def _is_stored_or_dropped(self) -> Self:
        if (self.stored is None) == (self.filter is None and self.uncaptioned is None):
            raise ValueError("a clip is either stored or dropped: prepare the dataset again")
        return self

    def record(self, etag: str, captions: StoredCaptions) -> SampleRecord:
        """The clip as a sample of the index. Only for a clip that is stored."""
        assert self.stored is not None
        kept = self.stored
        about = About(segment=self.segment, etag=etag, shape=kept.shape, captions=captions, scores=self.scores)
        return SampleRecord(
            about=about,
            tensors=kept.tensors,
            shard=kept.shard,
            first=kept.first,
            length=kept.length,
            sha256=kept.sha256,
        )


class Example(Record):
    """A frame of a clip for the report, as a JPEG in base64."""

    segment: Segment
    jpeg: Annotated[str, Field(max_length=1 << 16)]


class Part(Record):
    """What became of one input, or of one window of a long video."""

    format: Literal["kinema-part/1"] = "kinema-part/1"
    input: Annotated[str, Field(min_length=1, max_length=4096)]
    etag: Annotated[str, Field(max_length=1024)] = ""
    windows: Annotated[int, Field(ge=1, le=1 << 20)] = 1
    """Windows of the video as its headers tell."""
    more: bool = False
    """The last of them was not the end: one more window follows."""
    refused: Annotated[str, Field(max_length=63)] | None = None
    """Why nothing of it can be used, as it is counted."""
    sentence: Sentence = ""
    clips: tuple[PartClip, ...] = ()
    examples: Annotated[tuple[Example, ...], Field(max_length=64)] = ()
    requests: Count = 0
    prompt_tokens: Count = 0
    answer_tokens: Count = 0

    def to_bytes(self) -> bytes:
        """As JSON of one form."""
        return canonical(self.model_dump(mode="json", exclude_none=True))

    @classmethod
    def read(cls, data: bytes, where: str) -> Self:
        """Read what `to_bytes` wrote. Raises `BrokenDataset`, which names `where`."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            at = ".".join(map(str, first["loc"])) or "part"
            raise BrokenDataset(f"{shown(where)}: {at}: {first['msg']}. Delete it and prepare again.") from None


def _unpacked(text: str, length: int) -> bytes:
    data = zlib.decompressobj().decompress(b64decode(text), length + 1)
    if len(data) != length:
        raise ValueError("a signature of another length")
    return data
