"""Evaluates an exported model: downloads it, measures it, and uploads the report, its manifest last.

On a lost node an evaluator may still run beside its successor. So each file is written only over the version that was
there when the upload began: of two evaluators the first to write commits, and the other one writes nothing, even if it
was paused meanwhile. The result is uploaded first, since readers compare it with its digest in the manifest.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kinema_api import head as heads
from kinema_api import layout
from kinema_api.base import utc_now
from kinema_api.clip import DEFAULT_GUIDANCE_SCALE, DEFAULT_STEPS
from kinema_api.errors import BrokenManifest, ObjectMissing, StaleWrite
from kinema_api.evaluation import CAPTIONS, METRICS
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import ObjectStore
from kinema_api.reports import read_result
from kinema_api.run import EvaluationConfig
from kinema_api.wire import EvaluationResult
from kinema_dataset.errors import DatasetError
from kinema_evaluation import SECTIONS, EvaluationPlan, Report, Score, evaluate
from kinema_evaluation.errors import EvaluationError
from kinema_evaluation.plan import SEEN
from kinema_evaluation.recorded.clips import RecordedData
from kinema_jobs.clip.rendering import open_pipeline
from kinema_jobs.errors import ModelUnusable
from kinema_jobs.evaluate.recorded_clips import data_of_run
from kinema_jobs.evaluate.report import Origin, write_report
from kinema_jobs.model_folder import check_file, check_name, sha256_of
from kinema_jobs.train.data import DatasetAccess
from kinema_jobs.train.failures import BadConfiguration, StorageFailure
from kinema_jobs.train.fence import Fence
from kinema_jobs.train.settings import PodSettings
from kinema_jobs.train.storage import RetryPolicy
from kinema_model.errors import ModelError
from kinema_world.errors import WorldError
from kinema_world.stored import load_world

LOG_SECONDS: Final = 10.0
"""Seconds between two log lines about the same section."""
_BYTES: Final = "application/octet-stream"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Bucket:
    store: ObjectStore
    patience: RetryPolicy
    weak: bool

    @property
    def fence(self) -> Fence:
        return Fence(self.store, self.patience, self.weak)

    def versions(self, prefix: str) -> dict[str, str]:
        """The version of each object below a prefix, by its key."""
        return {found.key: found.etag for found in self.patience(lambda: list(self.store.list(prefix)))}

    def get(self, key: str) -> bytes:
        return self.patience(lambda: self.store.get(key))

    def fetch(self, key: str, path: Path) -> None:
        self.patience(lambda: self.store.get_file(key, path))

    def upload(self, key: str, path: Path, before: Mapping[str, str]) -> ManifestFile:
        """Raises StaleWrite where the object is not that of `before` any more."""
        self.fence.put(key, path.read_bytes(), before.get(key), _BYTES)
        return ManifestFile(name=path.name, sha256=sha256_of(path), bytes=path.stat().st_size)


class _Log:
    """Logs the progress of an evaluation, at intervals."""

    def __init__(self) -> None:
        self._section = ""
        self._told = 0.0

    def __call__(self, section: str, done: int, total: int) -> None:
        now = time.monotonic()
        if section != self._section or done == total or now - self._told >= LOG_SECONDS:
            self._section, self._told = section, now
            logger.info("Evaluating %s: %d of %d clips", section, done, total)


def make_report(config: EvaluationConfig, settings: PodSettings) -> EvaluationResult:
    """Commit the report on the model that `config` names, unless it is committed already; returns its result.

    Raises:
        StorageFailure: the store stayed away, the export is another model by now, or another evaluator writes there.
        BadConfiguration: the model cannot be evaluated with this spec.
    """
    bucket = _Bucket(settings.open_store(), RetryPolicy(settings.storage_patience_seconds), settings.weak_fence)
    if found := _committed(bucket, config):
        return found
    scratch = Path(tempfile.mkdtemp(prefix="kinema-evaluation-", dir=settings.scratch))
    try:
        model = _fetch_model(bucket, config, scratch / "model")
        result = _measure(config, scratch, data_of_run(config.datasets, DatasetAccess.of(settings)))
        return _commit(bucket, config, model, scratch / "report", result)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _committed(bucket: _Bucket, config: EvaluationConfig) -> EvaluationResult | None:
    """What is committed of the report on the model of `config`, whoever made it."""
    found = bucket.patience(lambda: read_result(bucket.store, layout.evaluation_prefix(config.prefix)))
    if found is None or found.model_digest != config.model_digest:
        return None
    logger.info("The report on %s exists already", config.model_digest)
    return found


def _commit(
    bucket: _Bucket, config: EvaluationConfig, model: Manifest, folder: Path, result: EvaluationResult
) -> EvaluationResult:
    """Upload the report in `folder`, its manifest last, unless another evaluator has; returns the committed result."""
    prefix = layout.evaluation_prefix(config.prefix)
    # In this order: a report that is committed after this check has other versions than those listed before.
    before = bucket.versions(prefix)
    if found := _committed(bucket, config):
        return found
    paths = sorted(folder.iterdir(), key=lambda path: (path.name != layout.EVALUATION_RESULT, path.name))
    try:
        files = tuple(bucket.upload(prefix + path.name, path, before) for path in paths)
        manifest = model.model_copy(update={"kind": "evaluation", "files": files, "created": utc_now()})
        key = prefix + layout.MANIFEST
        bucket.fence.put(key, manifest.to_bytes(), before.get(key))
    except StaleWrite:
        if found := _committed(bucket, config):
            return found
        raise StorageFailure(
            f"another evaluator writes to {bucket.store.uri(prefix)}, and no whole report on {config.model_digest} is "
            "there yet: the next pod of this evaluation uses its report, or evaluates the model again"
        ) from None
    logger.info("The report is committed as %s", bucket.store.uri(prefix))
    return result


def _fetch_model(bucket: _Bucket, config: EvaluationConfig, folder: Path) -> Manifest:
    """Download the export to `folder` and compare each file with its digest."""
    folder.mkdir()
    try:
        prefix = bucket.patience(lambda: heads.export_of(bucket.store, config.prefix))
        if prefix is None:
            raise StorageFailure(
                f"{config.prefix} has no committed model any more; the operator starts another evaluation"
            )
        manifest = Manifest.from_bytes(bucket.get(prefix + layout.MANIFEST), prefix + layout.MANIFEST)
        if manifest.digest() != config.model_digest:
            raise StorageFailure(
                f"{prefix} holds the model {manifest.digest()}, not {config.model_digest}, which was to be measured; "
                "the control plane asks for the new one"
            )
        for file in manifest.files:
            check_name(file.name)
            bucket.fetch(prefix + file.name, folder / file.name)
            check_file(folder / file.name, file)
    except (ObjectMissing, BrokenManifest, ModelUnusable) as error:
        raise StorageFailure(f"the exported model cannot be fetched: {error}") from None
    return manifest


def _measure(config: EvaluationConfig, scratch: Path, recorded: RecordedData | None) -> EvaluationResult:
    """Measure the model in `scratch`/model and write the report to `scratch`/report."""
    wanted, model, folder = config.evaluation, scratch / "model", scratch / "report"
    started = time.monotonic()
    try:
        plan = EvaluationPlan(
            clips=wanted.clips,
            seed=wanted.seed,
            steps=DEFAULT_STEPS,
            guidance_scale=DEFAULT_GUIDANCE_SCALE,
            world=load_world(model),
            sections=tuple(dict.fromkeys(wanted.sections or SECTIONS)),
        )
        report = evaluate(open_pipeline(model), plan, _Log(), recorded=recorded)
    except (EvaluationError, ModelError, WorldError, DatasetError) as error:
        raise BadConfiguration(f"the model cannot be evaluated with this spec.evaluation: {error}") from None
    seconds = round(time.monotonic() - started, 1)
    write_report(report, Origin(config.name, config.model_digest, seconds), folder)
    scores = gate_scores(report)
    result = EvaluationResult(
        model_digest=config.model_digest,
        accuracy={metric: score.value for metric, score in scores.items()},
        lower_bounds={metric: score.low for metric, score in scores.items() if score.low is not None},
        seconds=seconds,
    )
    (folder / layout.EVALUATION_RESULT).write_text(result.model_dump_json(by_alias=True), encoding="utf-8")
    return result


def gate_scores(report: Report) -> dict[str, Score]:
    """Accuracy with its interval by metric of a gate, over captions like those of training."""
    captions = report.sections.get(CAPTIONS)
    rows = captions.rows if captions else ()
    return {row.name: row.score for row in rows if row.group == SEEN and row.name in METRICS}
