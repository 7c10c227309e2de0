"""From one input to its clips: cut into shots, scored, judged, cropped, scaled, captioned and written into shards."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import cv2
import numpy as np
import torch

from kinema_api.prepare import ClipTarget
from kinema_api.recorded import ClipFilters
from kinema_dataset.cuts import Shot, clips
from kinema_dataset.errors import FramesError
from kinema_dataset.fitting import fitted, fitting
from kinema_dataset.frames import Frames, Image, inside, shrunk, spread
from kinema_dataset.parts import Example, Part, PartClip, Stored, StoredSignature
from kinema_dataset.records import Filter, Scores, Segment, dropped
from kinema_dataset.samples import About, SampleRecord, SampleShape, StoredCaptions
from kinema_dataset.scores import scores_of
from kinema_dataset.shards import TARGET_BYTES, VIDEO, Sample, write_shard
from kinema_dataset.signature import signature
from kinema_dataset.thresholds import verdict
from kinema_jobs.clip.decoding.process import InputRefused
from kinema_jobs.prepare.decode import Video, opened

SCORED_AREA: Final = 640 * 360
"""Least area at which frames are scored, whatever the model's is."""
BARS_SHARE: Final = 2.0
"""Frames are decoded at so many times the area of clips: what is left between bars still fills it."""
EXAMPLE_SIDE: Final = 160
EXAMPLES: Final = 3
"""Clips of each outcome of which a frame is kept for the report."""
SHOWN_SIDE: Final = 512
"""Longest sides of frames for the report, and of those that a captioner sees."""
SHOWN_FRAMES: Final = 8
_UNCAPTIONED: Final = StoredCaptions(short="-", rich="-", shots=("-",))


class Ask(Protocol):
    """Asks for the caption of a clip; the answer is waited for when the shard is written."""

    def __call__(self, jpegs: Sequence[bytes], name: str) -> Callable[[], StoredCaptions | Uncaptioned]:
        """What gives the answer."""
        ...


@dataclass(frozen=True)
class Uncaptioned:
    """A clip got no caption: the reason as it is counted, and a sentence; `unanswered`: nothing came back at all."""

    reason: str
    sentence: str
    unanswered: bool = False


class NoAnswer(Exception):
    """The captioner did not answer for a clip, which may be otherwise later."""


@dataclass
class _Kept:
    """A clip that passed, until its shard is written."""

    segment: Segment
    scores: Scores
    shape: SampleShape
    signature: StoredSignature
    video: Frames
    answer: Callable[[], StoredCaptions | Uncaptioned] | None

    @property
    def sample(self) -> Sample:
        about = About(segment=self.segment, shape=self.shape, captions=_UNCAPTIONED)
        return Sample(about, {VIDEO: torch.from_numpy(self.video)})


@dataclass
class ClipMaker:
    """Makes the clips of one input into shards in `folder`; `finished` is told of each shard that is written.

    `ask` captions clips that have no caption; None: they have one.
    """

    target: ClipTarget
    filters: ClipFilters
    folder: Path
    finished: Callable[[Path], None]
    ask: Ask | None = None
    patient: bool = False
    """Raise NoAnswer where the captioner does not answer, rather than drop the clip."""
    clips: list[PartClip] = field(default_factory=list)
    _waiting: list[_Kept] = field(default_factory=list)
    _examples: list[Example] = field(default_factory=list)
    _pictured: Counter[str] = field(default_factory=Counter)

    def part(self, path: Path, uri: str, etag: str, window: int, *, picture: bool) -> Part:
        """The outcome of a window of the file at `path`.

        Raises MemoryExhausted, NoAnswer, and what `ask` and `finished` raise.
        """
        windows, more = 1, False
        try:
            video = opened(path, "picture" if picture else "video", self.target.fps)
            windows = video.windows
            more = self._make(video, uri, window)
            self._flush()
        except InputRefused as error:
            # Of a file that breaks off nothing is used: which of its clips are whole cannot be told.
            return Part(input=uri, etag=etag, windows=windows, refused=error.reason, sentence=str(error)[:1024])
        examples = tuple(self._examples)
        return Part(input=uri, etag=etag, windows=windows, more=more, clips=tuple(self.clips), examples=examples)

    def _make(self, video: Video, uri: str, window: int) -> bool:
        """Make the clips; whether the video goes on after the last window of its length."""
        first, end = video.span(window)
        least, most = self.filters.min_frames, self.target.frames
        pieces = [piece for shot in video.shots(window) for piece in clips(shot, min(least, most), most)]
        area = max(SCORED_AREA, round(BARS_SHARE * self.target.pixels))
        is_last = video.moving and window == video.windows - 1
        frames = video.frames(first, end + is_last, area)
        at = first
        for piece in pieces:
            at += _pass_over(frames, piece.first - at)
            taken = _taken(frames, piece.frames)
            at += len(taken)
            if taken:
                self._judge(np.stack(taken), piece, video, uri)
        return is_last and at + _pass_over(frames, end + 1 - at) > end

    def _judge(self, frames: Frames, piece: Shot, video: Video, uri: str) -> None:
        """Score a piece, and keep or drop it."""
        cell = self.target.cell
        whole = len(frames) // cell[0] * cell[0]
        segment = Segment(
            input=uri,
            first=piece.first,
            end=piece.first + (whole or len(frames)),
            fps=video.rate,
            height=frames.shape[1],
            width=frames.shape[2],
        )
        if whole < self.filters.min_frames or not whole:
            least = max(self.filters.min_frames, cell[0])
            count = f"{len(frames)} frame{'' if len(frames) == 1 else 's'}"
            found = dropped(Filter.LENGTH, f"{count}, shorter than {least} (min_frames)")
            self._drop(segment, None, found.filter, found.reason, frames)
            return
        frames = frames[:whole]
        scores = scores_of(frames)
        found = verdict(scores, whole, self.filters)
        if not found.kept:
            self._drop(segment, scores, found.filter, found.reason, frames)
            return
        picture = inside(frames, scores.bars)
        to = fitting(picture.shape[1], picture.shape[2], self.target.pixels, cell[1:])
        made = fitted(picture, to)
        self._example("kept", segment, made)
        shape = SampleShape(frames=whole, height=to.height, width=to.width, fps=video.rate)
        name = f"{uri}, frames {segment.first} to {segment.end}"
        answer = self.ask(_jpegs(made), name) if self.ask else None
        kept = _Kept(segment, scores, shape, StoredSignature.of(signature(made, video.rate)), made, answer)
        self._waiting.append(kept)
        if sum(one.video.nbytes for one in self._waiting) >= TARGET_BYTES:
            self._flush()

    def _drop(
        self, segment: Segment, scores: Scores | None, by: Filter | None, why: str | None, frames: Frames
    ) -> None:
        self.clips.append(PartClip(segment=segment, scores=scores, filter=by, sentence=why or ""))
        self._example(str(by), segment, frames)

    def _example(self, outcome: str, segment: Segment, frames: Frames) -> None:
        """Keep a frame of the first clips of each outcome for the report."""
        self._pictured[outcome] += 1
        if self._pictured[outcome] <= EXAMPLES:
            jpeg = b64encode(jpeg_of(frames[len(frames) // 2], EXAMPLE_SIDE)).decode()
            self._examples.append(Example(segment=segment, jpeg=jpeg))

    def _flush(self) -> None:
        """Write the clips that wait into a shard, those without a caption left out."""
        waiting, self._waiting = self._waiting, []
        answers = [kept.answer() if kept.answer else None for kept in waiting]
        if self.patient and any(isinstance(told, Uncaptioned) and told.unanswered for told in answers):
            raise NoAnswer
        captioned = [kept for kept, told in zip(waiting, answers, strict=True) if not isinstance(told, Uncaptioned)]
        records: Iterator[SampleRecord] = iter(())
        if captioned:
            shard = write_shard(self.folder, [kept.sample for kept in captioned])
            self.finished(self.folder / shard.name)
            records = iter(shard.records)
        for kept, told in zip(waiting, answers, strict=True):
            if isinstance(told, Uncaptioned):
                clip = PartClip(
                    segment=kept.segment, scores=kept.scores, uncaptioned=told.reason, sentence=told.sentence[:1024]
                )
            else:
                record = next(records)
                stored = Stored(
                    tensors=record.tensors,
                    shard=record.shard,
                    first=record.first,
                    length=record.length,
                    sha256=record.sha256,
                    shape=kept.shape,
                    signature=kept.signature,
                )
                clip = PartClip(segment=kept.segment, scores=kept.scores, stored=stored, captions=told)
            self.clips.append(clip)


def jpeg_of(frame: Image, longest: int) -> bytes:
    """A frame RGB uint8 (H, W, 3) as a JPEG whose longer side has at most so many pixels.

    Raises FramesError if it cannot be encoded.
    """
    made, data = cv2.imencode(".jpg", shrunk(frame, longest)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not made:
        raise FramesError(f"a frame of {frame.shape} cannot be encoded: make it larger")
    return data.tobytes()


def _jpegs(frames: Frames) -> list[bytes]:
    return [jpeg_of(frames[index], SHOWN_SIDE) for index in spread(len(frames), SHOWN_FRAMES)]


def _pass_over(frames: Iterator[Image], count: int) -> int:
    """Skip so many frames; how many there were."""
    return sum(1 for _ in zip(range(count), frames, strict=False))


def _taken(frames: Iterator[Image], count: int) -> list[Image]:
    return [frame for _, frame in zip(range(count), frames, strict=False)]
