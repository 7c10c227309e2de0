"""The input of a training's plan: the resource, its observation, and values derived from both."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from kinema_api import layout, names
from kinema_api.training import MAX_NODES, VideoModelTraining, VideoModelTrainingSpec
from kinema_api.training_status import VideoModelTrainingStatus
from kinema_api.wire import TrainerProgress
from kinema_operator.core.conditions import PlanTime
from kinema_operator.core.settings import Settings
from kinema_operator.training.observed import (
    ExportSeen,
    JobSeen,
    Observed,
    PodSeen,
    PreparedSeen,
    ReportSeen,
    ResumePoint,
)

Status = VideoModelTrainingStatus
ConditionType = Literal[
    "Accepted", "Prepared", "Running", "Evaluated", "Succeeded", "Failed", "Suspended", "NodesWatched"
]


@dataclass(frozen=True)
class View:
    """Input of the plan."""

    training: VideoModelTraining
    seen: Observed
    settings: Settings
    now: datetime

    @property
    def spec(self) -> VideoModelTrainingSpec:
        """The spec."""
        return self.training.spec

    @property
    def status(self) -> Status:
        """The last written status."""
        return self.training.status

    @property
    def nodes(self) -> int:
        """Desired nodes, within the bounds of the run and of the API."""
        elastic = self.spec.elastic
        low, high = (elastic.min_nodes, elastic.max_nodes) if elastic else (1, MAX_NODES)
        return max(low, min(high, self.spec.nodes))

    @property
    def wants_new_run(self) -> bool:
        """Whether there was no run yet, or spec.runId has a new value. Removing runId starts no run."""
        return self.status.run == 0 or (self.spec.run_id is not None and self.spec.run_id != self.status.run_id)

    @property
    def between_attempts(self) -> bool:
        """Whether no attempt runs: the last one is over, and the next one's resume point is not fixed yet."""
        return self.status.attempt == 0 or self.status.not_before is not None

    @property
    def job(self) -> JobSeen | None:
        """The trainers' Job of the current attempt."""
        return self._job(names.COMPONENT_TRAINER)

    @property
    def evaluation_job(self) -> JobSeen | None:
        """The evaluation Job of the model in the status."""
        begun = self.status.evaluation
        found = self._job(names.COMPONENT_EVALUATOR)
        return found if found and begun and found.model == names.short_digest(begun.model_digest) else None

    @property
    def preparation_job(self) -> JobSeen | None:
        """The Job that prepares the run's recorded clips."""
        return self._job(names.COMPONENT_PREPARER)

    @property
    def preparers(self) -> tuple[PodSeen, ...]:
        """Pods that prepare the run's recorded clips, including terminating and ended ones."""
        return tuple(p for p in self.seen.pods if p.component == names.COMPONENT_PREPARER and self._current(p))

    @property
    def prepared(self) -> PreparedSeen | None:
        """The result of preparing; None: not looked up."""
        found = self.seen.prepared
        return found if found and self._current(found) else None

    @property
    def wants_clips(self) -> bool:
        """Whether recorded clips of this run are yet to be prepared."""
        return bool(self.spec.data.videos) and self.status.dataset is None

    @property
    def trainers(self) -> tuple[PodSeen, ...]:
        """Trainers of the current attempt, including ended ones."""
        return tuple(p for p in self.seen.pods if p.component == names.COMPONENT_TRAINER and self._current(p))

    @property
    def evaluators(self) -> tuple[PodSeen, ...]:
        """Evaluators of the current attempt's model, including terminating and ended ones."""
        return tuple(p for p in self.seen.pods if p.component == names.COMPONENT_EVALUATOR and self._current(p))

    def publication_job(self, digest: str) -> JobSeen | None:
        """The publication Job of the model `digest`."""
        found = self._job(names.COMPONENT_PUBLISHER)
        return found if found and found.model == names.short_digest(digest) else None

    @property
    def publishers(self) -> tuple[PodSeen, ...]:
        """Publishers of the current attempt's model, including terminating and ended ones."""
        return tuple(p for p in self.seen.pods if p.component == names.COMPONENT_PUBLISHER and self._current(p))

    @property
    def stores(self) -> tuple[PodSeen, ...]:
        """Rendezvous pods of the current attempt, including terminating ones."""
        return tuple(p for p in self.seen.pods if p.component == names.COMPONENT_STORE and self._current(p))

    @property
    def service(self) -> str:
        """The Service in the rendezvous host name that the current attempt's trainers were created with."""
        own = names.pods_service_name(self.training.metadata.name)
        subdomains = [self.job.subdomain] if self.job else [pod.subdomain for pod in self.stores]
        return own if own in subdomains else names.RENDEZVOUS_SERVICE

    @property
    def older_in_use(self) -> bool:
        """Whether a pod or Job still uses the objects that an older version created for this training alone."""
        own = names.pods_service_name(self.training.metadata.name)
        jobs = (not job.finished and job.subdomain == own for job in self.seen.jobs)
        return any(jobs) or any(not pod.over and pod.subdomain == own for pod in self.seen.pods)

    @property
    def progress(self) -> TrainerProgress | None:
        """Progress of the current attempt, from rank 0."""
        found = self.seen.progress
        return found if found and self._current(found) else None

    @property
    def export(self) -> ExportSeen | None:
        """The current attempt's export; None: not looked up."""
        found = self.seen.export
        return found if found and self._current(found) else None

    @property
    def report(self) -> ReportSeen | None:
        """The report on the current attempt's model; None: not looked up."""
        found = self.seen.report
        return found if found and self._current(found) else None

    @property
    def resume(self) -> ResumePoint | None:
        """Resume point of the next attempt; None: not looked up."""
        found = self.seen.resume
        return found if found and self._current(found) else None

    @property
    def training_prefix(self) -> str:
        """Prefix of the training."""
        meta = self.training.metadata
        return layout.training_prefix(meta.namespace, meta.name, self.training.artifacts.uid)

    @property
    def attempt_prefix(self) -> str:
        """Prefix of the current attempt."""
        meta = self.training.metadata
        return layout.attempt_prefix(
            meta.namespace, meta.name, self.training.artifacts.uid, self.status.run, self.status.attempt
        )

    @property
    def run_prefix(self) -> str:
        """Prefix of the current run."""
        meta = self.training.metadata
        return layout.run_prefix(meta.namespace, meta.name, self.training.artifacts.uid, self.status.run)

    def _job(self, component: str) -> JobSeen | None:
        jobs = (job for job in self.seen.jobs if job.component == component and self._current(job))
        return next((job for job in jobs if not job.deleting), None)

    def _current(
        self, thing: JobSeen | PodSeen | TrainerProgress | ExportSeen | ReportSeen | ResumePoint | PreparedSeen
    ) -> bool:
        return (thing.run, thing.attempt) == (self.status.run, self.status.attempt)

    def changed(self, **fields: Any) -> Status:
        """The status with the current observedGeneration and some fields changed."""
        return change(self.status, observed_generation=self.training.metadata.generation, **fields)

    def mark(
        self, status: Status, type_: ConditionType, value: bool | Literal["Unknown"], reason: str, message: str
    ) -> Status:
        """`status` with a condition set."""
        at = PlanTime(self.now, self.training.metadata.generation)
        return change(status, conditions=at.mark(status.conditions, type_, value, reason, message))

    def with_status(self, status: Status) -> View:
        """The same input with another status."""
        return View(self.training.model_copy(update={"status": status}), self.seen, self.settings, self.now)


def change(status: Status, **fields: Any) -> Status:
    """`status` with some fields changed."""
    return status.model_copy(update=fields)
