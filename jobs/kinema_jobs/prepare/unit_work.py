"""Prepares the units of a prefix that nobody has prepared yet, each into a part and its shards in the bucket."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kinema_api import layout
from kinema_api.prepare import ClipTarget
from kinema_api.recorded import RecordedClips
from kinema_dataset.captions import ending
from kinema_dataset.issues import shown
from kinema_dataset.parts import Part
from kinema_jobs.errors import CaptionerUnusable, InputChanged
from kinema_jobs.memory import in_gib
from kinema_jobs.prepare.bucket import Bucket
from kinema_jobs.prepare.captioner import UNANSWERED
from kinema_jobs.prepare.captioning import CaptionThread
from kinema_jobs.prepare.clip_maker import ClipMaker, NoAnswer
from kinema_jobs.prepare.listing import KINDS, PIECE, Kind, read_range
from kinema_jobs.prepare.progress import Progress
from kinema_jobs.prepare.units import Unit, in_turn, missing
from kinema_jobs.train.failures import BadConfiguration

SPARE_BYTES: Final = 512 << 20
"""Free bytes of the scratch disk beside an input: for a shard."""
logger = logging.getLogger(__name__)


@dataclass
class UnitWork:
    """The work on one prefix. `folder` is the prefix of its parts and shards, `scratch` a folder of this process."""

    source: Bucket
    target: Bucket
    clips: RecordedClips
    shape: ClipTarget
    folder: str
    scratch: Path
    worker: int
    progress: Progress
    captioner: CaptionThread | None = None
    changed: dict[str, None] = field(default_factory=dict)
    """Names of the units whose inputs changed while they were read."""
    _fetched: tuple[str, str, int] | None = None

    def part_key(self, unit: Unit) -> str:
        """Key of a unit's outcome."""
        return f"{self.folder}{layout.DATASET_PARTS}{unit.name(self.clips.captions.endpoint)}.json"

    def read(self, unit: Unit) -> Part | None:
        """The outcome of a unit; None: nobody has prepared it. Raises BrokenDataset, StorageFailure."""
        key = self.part_key(unit)
        data = self.target.read(key)
        return None if data is None else Part.read(data, key)

    def finish(self, units: Sequence[Unit]) -> None:
        """Prepare what is missing of these units.

        Raises:
            TrainingFailure: see train/failures.py.
            CaptionerUnusable: no clip gets a caption.
        """
        prefix = self.folder + layout.DATASET_PARTS
        done = {name.removesuffix(".json"): None for name in self.target.names(prefix)}
        open_ = missing(units, done | self.changed, self.clips.captions.endpoint)
        self.progress.show(stage="preparing", done=len(units) - len(open_), total=len(units))
        unanswered = []
        for unit in in_turn(open_, self.worker):
            try:
                self._finish(unit, patient=True)
            except NoAnswer:
                unanswered.append(unit)
        for unit in unanswered:
            self._finish(unit, patient=False)

    def _finish(self, unit: Unit, *, patient: bool) -> None:
        """Prepare a unit unless somebody has meanwhile. A `patient` one raises NoAnswer."""
        if self.target.exists(self.part_key(unit)):
            self.progress.advance()
            return
        try:
            part = self._prepared(unit, patient=patient)
        except InputChanged as error:
            self.changed[unit.name(self.clips.captions.endpoint)] = None
            logger.warning("%s", error)
            self.progress.advance()
            return
        if not self.target.create(self.part_key(unit), part.to_bytes()):
            logger.info("%s was prepared by another worker as well", shown(unit.uri))
        self.progress.advance(len(part.clips))

    def _prepared(self, unit: Unit, *, patient: bool) -> Part:
        path = self._fetch(unit)
        asks = self.captioner if unit.captions is None else None
        maker = ClipMaker(self.shape, self.clips.filters, self.scratch, self._upload, asks, patient)
        name = unit.member.name if unit.member else unit.key
        picture = KINDS.get(ending(name)) is Kind.IMAGE
        part = maker.part(path, unit.uri, unit.file.etag, unit.window, picture=picture)
        self._check_captioner(part)
        if self.captioner is None:
            return part
        requests, usage = self.captioner.since()
        spent = {"requests": requests, "prompt_tokens": usage.prompt_tokens, "answer_tokens": usage.completion_tokens}
        return part.model_copy(update=spent)

    def _check_captioner(self, part: Part) -> None:
        """Raises CaptionerUnusable where no clip was captioned and some got no answer: no fault of theirs."""
        endpoint = self.clips.captions.endpoint
        none = self.captioner is not None and not self.captioner.captioned
        if none and endpoint and any(clip.uncaptioned in UNANSWERED for clip in part.clips):
            raise CaptionerUnusable(
                f"the captioner at {endpoint.url} has answered nothing for any clip; check that it runs, and its log"
            )

    def _upload(self, shard: Path) -> None:
        self.target.put_named_by_content(f"{self.folder}{layout.DATASET_SHARDS}{shard.name}", shard)
        shard.unlink()

    def _fetch(self, unit: Unit) -> Path:
        """The input as a file, which stays for the next window of the same video.

        Raises:
            BadConfiguration: the scratch disk cannot hold it.
            InputChanged: it is not the listed version any more.
        """
        path, this = self.scratch / "input", (unit.uri, unit.file.etag, unit.bytes)
        if self._fetched == this:
            return path
        self._fetched = None
        path.unlink(missing_ok=True)
        free = shutil.disk_usage(self.scratch).free
        if unit.bytes + SPARE_BYTES > free:
            raise BadConfiguration(
                f"{shown(unit.uri)} has {in_gib(unit.bytes)} and the scratch disk has room for {in_gib(free)}: raise "
                "worker.resources ephemeral-storage, or cut the video"
            )
        with path.open("wb") as out:
            for first in range(0, unit.bytes, PIECE):
                out.write(self._piece(unit, first))
        self._fetched = this
        return path

    def _piece(self, unit: Unit, first: int) -> bytes:
        length = min(PIECE, unit.bytes - first)
        return self.source.insist(
            lambda: read_range(self.source.store, unit.key, unit.file, unit.first + first, length)
        )
