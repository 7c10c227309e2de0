"""Joins what became of all inputs of a prefix to a dataset: near-duplicates, captions, index, manifest.

Everything follows from the parts and their order, so two workers that join at once write the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from pydantic import JsonValue

from kinema_api import layout
from kinema_dataset.duplicates import Entry, groups, verdicts
from kinema_dataset.index import BESIDE, INDEX_FILE, MANIFEST_FILE, DatasetManifest, finish
from kinema_dataset.issues import Reason, shown
from kinema_dataset.parts import Part, PartClip, Stored
from kinema_dataset.records import Filter
from kinema_dataset.samples import SampleRecord, StoredCaptions
from kinema_dataset.signature import CELLS, Signature
from kinema_jobs.prepare.bucket import Bucket
from kinema_jobs.prepare.summary import KEPT, MAX_EXAMPLES, Histogram, ShownExample
from kinema_jobs.prepare.units import Unit

CHANGED: Final = "changed while it was read"
FROM_FILES, FROM_CAPTIONER = "files", "captioner"


@dataclass(frozen=True)
class _Candidate:
    """A clip that no filter drops; its record is a line, since most of it is not needed any more."""

    line: bytes
    name: str
    quality: tuple[float, ...]
    from_file: bool
    measures: tuple[float, ...]
    """As MEASURES."""
    first: int
    samples: int
    colour: bytes
    """Signature: where its luma begins in the scratch file, its samples, its colours."""


MEASURES: Final = (
    ("length", "s"),
    ("width", "px"),
    ("height", "px"),
    ("motion", "of the shorter side a frame"),
    ("sharpness", ""),
    ("brightness", ""),
    ("words of the rich caption", ""),
)


@dataclass
class Joining:
    """Takes the parts of a prefix in the order of its units. Signatures lie in a file of `scratch`, not in memory."""

    scratch: Path
    keep_duplicates: bool
    dropped: Counter[str] = field(default_factory=Counter)
    uncaptioned: Counter[str] = field(default_factory=Counter)
    clips: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    kept: list[_Candidate] = field(default_factory=list)
    examples: list[ShownExample] = field(default_factory=list)
    shards: dict[str, list[str]] = field(default_factory=dict)
    """Keys of the parts that name each shard."""
    _shown: Counter[str] = field(default_factory=Counter)
    _thumbs: dict[str, str] = field(default_factory=dict)

    def add(self, unit: Unit, part: Part, signatures: BinaryIO, key: str) -> None:
        """Take the outcome of a unit, which lies at `key`; `signatures` is the scratch file, open for writing."""
        for shard in {clip.stored.shard for clip in part.clips if clip.stored}:
            self.shards.setdefault(shard, []).append(key)
        self.requests += part.requests
        self.prompt_tokens += part.prompt_tokens
        self.answer_tokens += part.answer_tokens
        if part.refused:
            self.drop(part.refused, unit.uri, part.sentence)
        thumbs = {example.segment: example.jpeg for example in part.examples}
        given = None if unit.captions is None else StoredCaptions.of(unit.captions)
        for clip in part.clips:
            self.clips += 1
            where = f"{clip.segment.input}, frames {clip.segment.first} to {clip.segment.end}"
            captions = given or clip.captions
            if clip.stored is None or captions is None:
                reason = str(clip.filter or Reason.MISSING)
                self.uncaptioned.update([clip.uncaptioned] if clip.uncaptioned else [])
                self.drop(reason, where, clip.sentence, thumbs.get(clip.segment, ""))
                continue
            self._take(clip, clip.stored, part.etag, captions, signatures, from_file=given is not None)
            self._thumbs[self.kept[-1].name] = thumbs.get(clip.segment, "") if len(self._thumbs) < 4096 else ""

    def drop(self, reason: str, where: str, sentence: str, jpeg: str = "") -> None:
        """Count a clip or a file that is left out."""
        self.dropped[reason] += 1
        self._example(reason, where, sentence, jpeg)

    def _example(self, outcome: str, where: str, sentence: str, jpeg: str) -> None:
        if self._shown[outcome] < MAX_EXAMPLES:
            self._shown[outcome] += 1
            self.examples.append(ShownExample(outcome=outcome, where=shown(where), sentence=sentence, jpeg=jpeg))

    def _take(
        self,
        clip: PartClip,
        stored: Stored,
        etag: str,
        captions: StoredCaptions,
        signatures: BinaryIO,
        *,
        from_file: bool,
    ) -> None:
        record = clip.record(etag, captions)
        signature = stored.signature.signature()
        first = signatures.tell()
        signatures.write(signature.luma.tobytes())
        shape, scores = stored.shape, clip.scores
        sharpness = scores.sharpness if scores else 0.0
        motion, brightness = (scores.motion, scores.brightness) if scores else (0.0, 0.0)
        words = float(len(captions.rich.split()))
        seconds = shape.frames / shape.fps
        self.kept.append(
            _Candidate(
                record.to_line(),
                f"{clip.segment.input}#{clip.segment.first:09d}",
                (float(shape.height * shape.width), float(shape.frames), sharpness),
                from_file,
                (seconds, float(shape.width), float(shape.height), motion, sharpness, brightness, words),
                first,
                len(signature.luma),
                signature.colour.tobytes(),
            )
        )

    def without_duplicates(self, signatures: Path) -> None:
        """Drop all but the best of near-duplicates."""
        if self.keep_duplicates or len(self.kept) < 2:
            return
        luma = np.memmap(signatures, np.uint8, "r")
        entries = [Entry(one.name, _signature(one, luma), one.quality) for one in self.kept]
        gone = verdicts(groups(entries))
        for one in self.kept:
            if found := gone.get(one.name):
                segment = SampleRecord.from_line(one.line, one.name).about.segment
                where = f"{segment.input}, frames {segment.first} to {segment.end}"
                self.drop(str(Filter.DUPLICATE), where, shown(found.reason or "", 400), self._thumbs.get(one.name, ""))
        self.kept = [one for one in self.kept if one.name not in gone]

    def show_kept(self) -> None:
        """Choose the examples of clips that are kept, spread over all that have a picture."""
        pictured = [one for one in self.kept if self._thumbs.get(one.name)]
        step = max(1, len(pictured) // MAX_EXAMPLES)
        for one in pictured[::step][:MAX_EXAMPLES]:
            about = SampleRecord.from_line(one.line, one.name).about
            where = f"{about.segment.input}, frames {about.segment.first} to {about.segment.end}"
            self._example(KEPT, where, shown(about.captions.short, 400), self._thumbs[one.name])

    def histograms(self) -> tuple[Histogram, ...]:
        """How the clips that are kept are distributed."""
        if not self.kept:
            return ()
        columns = zip(*(one.measures for one in self.kept), strict=True)
        return tuple(Histogram.of(name, unit, values) for (name, unit), values in zip(MEASURES, columns, strict=True))

    def captions(self) -> dict[str, int]:
        """Kept clips by where their captions come from."""
        files = sum(one.from_file for one in self.kept)
        return {FROM_FILES: files, FROM_CAPTIONER: len(self.kept) - files}

    def stored_bytes(self) -> int:
        """Bytes of the tensors of all clips that are kept."""
        return sum(int(json.loads(one.line)["length"]) for one in self.kept)


def _signature(one: _Candidate, luma: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> Signature:
    cells = luma[one.first : one.first + one.samples * CELLS**2].reshape(one.samples, CELLS, CELLS)
    colour = np.frombuffer(one.colour, np.float32)
    side = round((len(colour) / 2) ** 0.5)
    return Signature(cells, colour.reshape(2, side, side))


def write_dataset(
    target: Bucket, folder: str, scratch: Path, joining: Joining, settings: Mapping[str, JsonValue]
) -> tuple[str, DatasetManifest]:
    """Write index and manifest of the clips that are kept; the dataset's prefix, and its manifest.

    Raises BrokenDataset if no clip is kept, StorageFailure.
    """
    manifest = finish(scratch, (one.line for one in joining.kept), settings, at=BESIDE)
    data = (scratch / MANIFEST_FILE).read_bytes()
    prefix = layout.dataset_prefix(folder, sha256(data).hexdigest())
    target.put_named_by_content(prefix + INDEX_FILE, scratch / INDEX_FILE)
    target.create(prefix + MANIFEST_FILE, data)
    return prefix, manifest
