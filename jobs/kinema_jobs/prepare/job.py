"""The job from end to end: every prefix to a dataset, then the report page, then the result.

Any number of workers run it at once, come and go. All there is to know is in the bucket: a worker that begins sees what
others have left, and whoever finds every unit prepared joins them.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import ValidationError

from kinema_api import layout
from kinema_api.prepare import PrepareConfig, PreparedDataset, PrepareResult
from kinema_api.recorded import RecordedClips
from kinema_dataset.index import MANIFEST_FILE, DatasetManifest
from kinema_jobs.errors import ApiKeyUnusable, CaptionerRefuses, CaptionerUnusable
from kinema_jobs.prepare.bucket import HTML, Bucket, batches
from kinema_jobs.prepare.captioning import captioning
from kinema_jobs.prepare.joining import CHANGED, Joining, write_dataset
from kinema_jobs.prepare.planning import Plan, plan
from kinema_jobs.prepare.progress import Progress
from kinema_jobs.prepare.report import page
from kinema_jobs.prepare.settings import PrepareSettings
from kinema_jobs.prepare.summary import Summary
from kinema_jobs.prepare.unit_work import UnitWork
from kinema_jobs.prepare.units import Unit, dataset_settings, folder, inputs_digest
from kinema_jobs.train.failures import BadConfiguration, StorageFailure

THREADS: Final = 16
"""Parts that are read at a time."""
_BATCH: Final = 512
TRIES: Final = 3
"""Times that parts are joined of which shards are gone."""
SENTENCES: Final = 20
"""Remarks of each reason that are shown."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stores:
    """Where inputs are read, and where datasets are written: as a rule one store.

    `prefix` is where the inputs lie in their store, if that is not what their uri says.
    """

    source: Bucket
    target: Bucket
    prefix: str | None = None


def prepare(config: PrepareConfig, settings: PrepareSettings, stores: Stores, progress: Progress) -> PrepareResult:
    """Prepare all prefixes unless the result is there already; the result.

    Raises:
        BadConfiguration: a prefix has nothing that can be used, or the captioner refuses.
        StorageFailure: a store or the captioner stayed away.
        MemoryExhausted: a video took too much memory.
    """
    if found := _read_result(stores.target, config):
        progress.show(stage="done")
        return found
    scratch = Path(tempfile.mkdtemp(prefix="kinema-prepare-", dir=settings.scratch))
    run = layout.run_prefix(config.namespace, config.name, config.uid, config.run)
    try:
        made = [_Prefix(config, settings, stores, progress, scratch, run, clips).summary() for clips in config.videos]
    except (CaptionerRefuses, ApiKeyUnusable) as error:
        raise BadConfiguration(str(error)) from None
    except CaptionerUnusable as error:
        raise StorageFailure(str(error)) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _commit(config, stores.target, run, made, progress)


def _commit(
    config: PrepareConfig, target: Bucket, run: str, made: Sequence[Summary], progress: Progress
) -> PrepareResult:
    """Write the report page and the result. Raises BadConfiguration if a prefix has no clip left."""
    report = run + layout.PREPARED_PAGE
    target.put(report, page(config.name, made, run).encode(), HTML)
    for one in made:
        if not one.samples:
            raise BadConfiguration(_nothing_left(one, target.store.uri(report)))
    datasets = tuple(PreparedDataset.model_validate(one.dataset(run)) for one in made)
    result = PrepareResult(datasets=datasets, report=report)
    if not target.create(config.result, result.model_dump_json(by_alias=True).encode()):
        result = _read_result(target, config) or result
    progress.show(stage="done")
    logger.info("The result is %s", target.store.uri(config.result))
    return result


def _read_result(target: Bucket, config: PrepareConfig) -> PrepareResult | None:
    data = target.read(config.result)
    try:
        return None if data is None else PrepareResult.model_validate_json(data)
    except ValidationError:
        where = target.store.uri(config.result)
        raise BadConfiguration(f"{where} is no result of preparing: delete it") from None


def _nothing_left(one: Summary, report: str) -> str:
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(one.dropped.items(), key=lambda r: -r[1])[:8])
    return (
        f"no clip of {one.uri} is left: {reasons}; see {report}, then correct the videos or change a threshold in "
        "filters"
    )


@dataclass
class _Prefix:
    """The work on one prefix."""

    config: PrepareConfig
    settings: PrepareSettings
    stores: Stores
    progress: Progress
    scratch: Path
    run: str
    clips: RecordedClips

    def summary(self) -> Summary:
        """Prepare the prefix, or find what it became before."""
        clips, target = self.clips, self.stores.target
        self.progress.show(stage="listing", uri=clips.uri, done=0, total=0)
        made = plan(self.stores.source, self._key_prefix(), clips)
        base = folder(self.config.namespace, clips, self.config.target)
        known = f"{base}{layout.DATASET_SUMS}{inputs_digest(made.units, clips, self.config.target)}.json"
        if (data := target.read(known)) and self._is_whole(found := Summary.model_validate_json(data), base):
            logger.info("%s was prepared before", clips.uri)
            return found
        endpoint = clips.captions.endpoint
        with captioning(endpoint, self.settings.captioner_key_file) as captioner:
            work = UnitWork(
                self.stores.source,
                target,
                clips,
                self.config.target,
                base,
                self.scratch,
                self.settings.worker,
                self.progress,
                captioner,
            )
            for _ in range(TRIES):
                if (summary := self._joined(work, made, base)) is not None:
                    break
            else:
                raise StorageFailure(f"shards below {base} are deleted while they are written; find out by whom")
        if not work.changed:
            target.create(known, summary.model_dump_json().encode())
            data = target.read(known)
        return Summary.model_validate_json(data) if data else summary

    def _key_prefix(self) -> str:
        """Key prefix of the clips in the source's bucket. Raises BadConfiguration."""
        if self.stores.prefix is not None:
            return self.stores.prefix
        bucket, _, prefix = self.clips.uri.removeprefix("s3://").partition("/")
        own = self.stores.source.store.location.bucket
        if bucket != own:
            raise BadConfiguration(
                f"{self.clips.uri} is in the bucket {bucket} and the training's store is the bucket {own}: copy the "
                "clips there, or set artifactStore"
            )
        return prefix

    def _is_whole(self, found: Summary, base: str) -> bool:
        """Whether the dataset that was made before is still there, with all its shards."""
        data = self.stores.target.read(found.prefix + MANIFEST_FILE) if found.prefix else b""
        if data is None:
            return False
        shards = DatasetManifest.model_validate_json(data).shards if data else ()
        return not set(shards) - self.stores.target.names(base + layout.DATASET_SHARDS)

    def _joined(self, work: UnitWork, made: Plan, base: str) -> Summary | None:
        """Prepare what is missing and join all; None where shards of parts are gone, whose parts are deleted then."""
        joining = Joining(self.scratch, self.clips.filters.duplicates, dropped=made.left_out.copy())
        path = self.scratch / "signatures"
        with path.open("wb") as signatures:
            waiting = made.units
            while waiting:
                work.finish(waiting)
                waiting = list(self._take(work, waiting, joining, signatures))
        lost = set(joining.shards) - self.stores.target.names(base + layout.DATASET_SHARDS)
        for key in sorted({key for shard in lost for key in joining.shards[shard]}):
            logger.warning("A shard of %s is gone: its input is prepared again", key)
            self.stores.target.delete(key)
        if lost:
            return None
        self.progress.show(stage="joining")
        joining.without_duplicates(path)
        joining.show_kept()
        return self._summary(joining, made, base)

    def _take(self, work: UnitWork, units: list[Unit], joining: Joining, signatures: BinaryIO) -> Iterator[Unit]:
        """Give the outcomes of some units to `joining`, in their order; the units that follow from them."""
        with ThreadPoolExecutor(THREADS) as threads:
            for batch in batches(units, _BATCH):
                for unit, part in zip(batch, threads.map(work.read, batch), strict=True):
                    if part is None:
                        joining.drop(CHANGED, unit.uri, "It is another one now: prepare again to use it.")
                        continue
                    joining.add(unit, part, signatures, work.part_key(unit))
                    yield from unit.following(part)

    def _summary(self, joining: Joining, made: Plan, base: str) -> Summary:
        settings = dataset_settings(self.clips, self.config.target)
        summary = Summary(
            uri=self.clips.uri,
            run=self.run,
            dropped=dict(sorted((+joining.dropped).items())),
            found=dict(made.found),
            clips=joining.clips,
            captions=joining.captions(),
            examples=tuple(joining.examples),
            histograms=joining.histograms(),
            requests=joining.requests,
            prompt_tokens=joining.prompt_tokens,
            answer_tokens=joining.answer_tokens,
            uncaptioned=dict(sorted(joining.uncaptioned.items())),
            settings=settings,
            **_remarks(made),
        )
        if not joining.kept:
            return summary
        prefix, manifest = write_dataset(self.stores.target, base, self.scratch, joining, settings)
        stored = {
            "prefix": prefix,
            "digest": manifest.digest,
            "samples": manifest.samples,
            "inputs": manifest.inputs,
            "seconds": round(sum(one.measures[0] for one in joining.kept), 3),
            "bytes": joining.stored_bytes(),
        }
        return summary.model_copy(update=stored)


def _remarks(made: Plan) -> dict[str, object]:
    counts: dict[str, int] = {}
    sentences: dict[str, tuple[str, ...]] = {}
    for issues in made.issues:
        for reason, count in issues.counts.items():
            counts[reason] = counts.get(reason, 0) + count
            sentences[reason] = (*sentences.get(reason, ()), *issues.sentences[reason])[:SENTENCES]
    return {"remarked": counts, "remarks": sentences}
