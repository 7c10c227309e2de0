"""The phase Evaluating of a run on this machine: the same process as in an evaluator's pod, judged by the same gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torchx.specs import macros

from kinema_api import head as heads
from kinema_api import launch, layout
from kinema_api.errors import BrokenManifest, StorageError
from kinema_api.evaluation import Evaluation, shortfall
from kinema_api.manifest import Manifest
from kinema_api.objectstore import ObjectStore
from kinema_api.reports import read_result
from kinema_api.run import RunConfig
from kinema_api.training import VideoModelTraining
from kinema_api.wire import EvaluationResult
from kinema_jobs.local.ending import run_to_end
from kinema_jobs.local.site import Folders, place
from kinema_jobs.train.failures import TrainingFailure


class GateNotMet(TrainingFailure):
    """The model is not good enough to be published."""


def measure(
    training: VideoModelTraining,
    config: RunConfig,
    store: ObjectStore,
    site: launch.Site,
    folders: Folders,
    tell: Callable[[dict[str, Any]], None],
) -> None:
    """Measure the model that the attempt of `config` has exported; returns if it may be published.

    Raises:
        TrainingFailure: the evaluator failed; with its failure class.
        GateNotMet: it is not good enough.
    """
    wanted = training.spec.evaluation or Evaluation()
    own = Folders(folders.work / "evaluation")
    tell({"event": "evaluating", "message": f"the model is being evaluated; logs in {own.logs}"})
    try:
        prefix = heads.export_of(store, config.prefix)
        if prefix is None:
            raise TrainingFailure(f"the run ended without a model below {config.prefix}: see its logs")
        digest = Manifest.read(store, prefix + layout.MANIFEST).digest()
        asked = launch.evaluation_config(training, config.run, config.attempt, digest, wanted)
        asked = asked.model_copy(update={"datasets": config.datasets})
        here = replace(site, termination_log=str(own.termination_message(macros.replica_id)))
        run_to_end(launch.evaluation_app(asked, here), own, launch.EVALUATOR_ROLE, "the evaluation")
        result = read_result(store, layout.evaluation_prefix(config.prefix))
    except (BrokenManifest, StorageError) as error:
        raise TrainingFailure(str(error)) from None
    if result is None:
        raise TrainingFailure(f"the evaluation ended without a report: see its logs in {own.logs}")
    _judge(wanted, result, place(store, layout.evaluation_prefix(config.prefix) + layout.REPORT_PAGE), tell)


def _judge(wanted: Evaluation, result: EvaluationResult, report: str, tell: Callable[[dict[str, Any]], None]) -> None:
    missed = shortfall(wanted.gate, result.accuracy, result.lower_bounds)
    figures = ", ".join(f"{metric} {share:.1%}" for metric, share in result.accuracy.items())
    message = f"{figures or 'no accuracy of captions'}; the report is {report}"
    found = {"report": report, "accuracy": result.accuracy, "passed": not missed, "seconds": result.seconds}
    tell({"event": "evaluated", "message": message, **found})
    if missed:
        raise GateNotMet(f"The model is not published: {missed}; train longer or lower evaluation.gate")
