"""One look at a training: the resource, what was seen of it, and the questions that the plan asks of both."""

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
from kinema_operator.training.observed import ExportSeen, JobSeen, Observed, PodSeen, ReportSeen, ResumePoint

Status = VideoModelTrainingStatus
ConditionType = Literal["Accepted", "Running", "Evaluated", "Succeeded", "Failed", "Suspended", "NodesWatched"]


@dataclass(frozen=True)
class View:
    """Input of the plan."""

    training: VideoModelTraining
    seen: Observed
    settings: Settings
    now: datetime

    @property
    def spec(self) -> VideoModelTrainingSpec:
        """What is wanted."""
        return self.training.spec

    @property
    def status(self) -> Status:
        """What was last written about it."""
        return self.training.status

    @property
    def nodes(self) -> int:
        """Nodes wanted, within what the run is allowed and what the API allows."""
        elastic = self.spec.elastic
        low, high = (elastic.min_nodes, elastic.max_nodes) if elastic else (1, MAX_NODES)
        return max(low, min(high, self.spec.nodes))

    @property
    def wants_new_run(self) -> bool:
        """There was no run yet, or spec.runId has a new value. Taking the value away starts nothing."""
        return self.status.run == 0 or (self.spec.run_id is not None and self.spec.run_id != self.status.run_id)

    @property
    def between_attempts(self) -> bool:
        """No attempt is under way: the last one is over, and the next one's resume point is not fixed yet."""
        return self.status.attempt == 0 or self.status.not_before is not None

    @property
    def job(self) -> JobSeen | None:
        """The trainers' Job of the current attempt."""
        return self._job(names.COMPONENT_TRAINER)

    @property
    def evaluation_job(self) -> JobSeen | None:
        """The Job that measures the model which the status names."""
        begun = self.status.evaluation
        found = self._job(names.COMPONENT_EVALUATOR)
        return found if found and begun and found.model == names.short_digest(begun.model_digest) else None

    @property
    def trainers(self) -> tuple[PodSeen, ...]:
        """Trainers of the current attempt, dead ones too."""
        return tuple(p for p in self.seen.pods if p.component == names.COMPONENT_TRAINER and self._current(p))

    @property
    def evaluators(self) -> tuple[PodSeen, ...]:
        """Pods that measure, or measured, the current attempt's model, leaving and dead ones too."""
        return tuple(p for p in self.seen.pods if p.component == names.COMPONENT_EVALUATOR and self._current(p))

    def publication_job(self, digest: str) -> JobSeen | None:
        """The Job that publishes the model of that digest."""
        found = self._job(names.COMPONENT_PUBLISHER)
        return found if found and found.model == names.short_digest(digest) else None

    @property
    def publishers(self) -> tuple[PodSeen, ...]:
        """Pods that publish, or published, the current attempt's model, leaving and dead ones too."""
        return tuple(p for p in self.seen.pods if p.component == names.COMPONENT_PUBLISHER and self._current(p))

    @property
    def stores(self) -> tuple[PodSeen, ...]:
        """Rendezvous stores of the current attempt, leaving ones too."""
        return tuple(p for p in self.seen.pods if p.component == names.COMPONENT_STORE and self._current(p))

    @property
    def service(self) -> str:
        """The Service that names the current attempt's rendezvous: as its trainers were told when they were made."""
        own = names.pods_service_name(self.training.metadata.name)
        subdomains = [self.job.subdomain] if self.job else [pod.subdomain for pod in self.stores]
        return own if own in subdomains else names.RENDEZVOUS_SERVICE

    @property
    def older_in_use(self) -> bool:
        """Whether a pod or Job of any attempt still lives on what an older version made for this training alone."""
        own = names.pods_service_name(self.training.metadata.name)
        jobs = (not job.finished and job.subdomain == own for job in self.seen.jobs)
        return any(jobs) or any(not pod.over and pod.subdomain == own for pod in self.seen.pods)

    @property
    def progress(self) -> TrainerProgress | None:
        """What rank 0 of the current attempt says."""
        found = self.seen.progress
        return found if found and self._current(found) else None

    @property
    def export(self) -> ExportSeen | None:
        """What is known of the current attempt's export; None: the store was not asked."""
        found = self.seen.export
        return found if found and self._current(found) else None

    @property
    def report(self) -> ReportSeen | None:
        """What is known of the report on the current attempt's model; None: the store was not asked."""
        found = self.seen.report
        return found if found and self._current(found) else None

    @property
    def resume(self) -> ResumePoint | None:
        """Where the next attempt would go on from; None: the store was not asked."""
        found = self.seen.resume
        return found if found and self._current(found) else None

    @property
    def training_prefix(self) -> str:
        """Where all of the training's attempts write."""
        meta = self.training.metadata
        return layout.training_prefix(meta.namespace, meta.name, self.training.artifacts.uid)

    @property
    def attempt_prefix(self) -> str:
        """Where the current attempt writes."""
        meta = self.training.metadata
        return layout.attempt_prefix(
            meta.namespace, meta.name, self.training.artifacts.uid, self.status.run, self.status.attempt
        )

    @property
    def run_prefix(self) -> str:
        """Where the attempts of the current run write."""
        meta = self.training.metadata
        return layout.run_prefix(meta.namespace, meta.name, self.training.artifacts.uid, self.status.run)

    def _job(self, component: str) -> JobSeen | None:
        jobs = (job for job in self.seen.jobs if job.component == component and self._current(job))
        return next((job for job in jobs if not job.deleting), None)

    def _current(self, thing: JobSeen | PodSeen | TrainerProgress | ExportSeen | ReportSeen | ResumePoint) -> bool:
        return (thing.run, thing.attempt) == (self.status.run, self.status.attempt)

    def changed(self, **fields: Any) -> Status:
        """The status as it was, of the present generation, with some fields changed."""
        return change(self.status, observed_generation=self.training.metadata.generation, **fields)

    def mark(
        self, status: Status, type_: ConditionType, value: bool | Literal["Unknown"], reason: str, message: str
    ) -> Status:
        """`status` with a condition set."""
        at = PlanTime(self.now, self.training.metadata.generation)
        return change(status, conditions=at.mark(status.conditions, type_, value, reason, message))

    def with_status(self, status: Status) -> View:
        """The same look with another status."""
        return View(self.training.model_copy(update={"status": status}), self.seen, self.settings, self.now)


def change(status: Status, **fields: Any) -> Status:
    """`status` with some fields changed."""
    return status.model_copy(update=fields)
