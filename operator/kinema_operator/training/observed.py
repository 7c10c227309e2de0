"""The observation for the plan of a training: frozen data, labelled with run and attempt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from kinema_api import layout, names
from kinema_api.finetune import BaseStatus
from kinema_api.prepare import PrepareProgress
from kinema_api.training_status import DatasetStatus
from kinema_api.wire import EvaluationResult, TerminationMessage, TrainerProgress
from kinema_operator.core.plan import Ref


@dataclass(frozen=True)
class JobSeen:
    """A Job of one attempt: of its trainers, its evaluation or its publication, or of what is prepared before it."""

    name: str
    uid: str
    resource_version: str
    run: int
    attempt: int
    parallelism: int
    component: str = names.COMPONENT_TRAINER
    model: str = ""
    """Of an evaluation or publication: the short digest of the model."""
    image: str = ""
    """Image of its pods."""
    finished: Literal["Complete", "Failed"] | None = None
    message: str = ""
    """Message of the Job controller about its end."""
    deleting: bool = False
    suspended: bool = False
    """It creates no pods, for example until Kueue admits it."""
    queue: str = ""
    """Its LocalQueue in Kueue."""
    created: datetime | None = None
    subdomain: str = ""
    """Subdomain of its pods: a Service that an older version created for this training alone; empty: none."""


@dataclass(frozen=True)
class PodEnd:
    """How a container or its pod ended."""

    exit_code: int | None = None
    """None: the pod failed without an exit code, as on eviction."""
    reason: str = ""
    """Reason of the container, such as OOMKilled, or of the pod, such as Evicted."""
    message: str = ""
    disrupted: bool = False
    """The pod has the condition DisruptionTarget (KEP-3329)."""
    word: TerminationMessage | None = None
    finished: datetime | None = None


NodeTrouble = Literal["deleted", "unreachable", "not ready"]
"""Unreachable: no heartbeat of the kubelet. Not ready: reported by the kubelet."""


@dataclass(frozen=True)
class PodSeen:
    """A trainer, an evaluator, a publisher, a rendezvous pod, or one that prepares clips."""

    name: str
    uid: str
    component: str
    run: int
    attempt: int
    phase: str = "Pending"
    started: datetime | None = None
    """When its container started; None: not yet."""
    waiting: str = ""
    """Why it does not run yet, as reported by the scheduler or the kubelet."""
    deletion_time: datetime | None = None
    """When its termination grace period ends."""
    deleted: datetime | None = None
    """When it was deleted; None: it was not."""
    end: PodEnd | None = None
    generation: int | None = None
    """Of a rendezvous pod: see rendezvous_pod.ANNOTATION_GENERATION. None: of an older version."""
    resource_version: str = ""
    node: str = ""
    """Name of its node."""
    min_nodes: int | None = None
    """Of a rendezvous pod: the smallest group that it forms."""
    trouble: NodeTrouble | None = None
    """Problem of its node; None: none, or no node yet, or no permission to watch nodes."""
    trouble_since: datetime | None = None
    silent: bool | None = None
    """Whether it did not respond when it was asked because of its node; None: it was not asked."""
    subdomain: str = ""
    """The Service of its host name."""
    earlier_failures: int = 0
    """Replacements of its index so far: the Job controller delays the next one by 10 s x 2^this."""

    @property
    def running(self) -> bool:
        """Whether its container runs and it is not being deleted."""
        return self.phase == "Running" and self.started is not None and self.deletion_time is None and not self.end

    @property
    def over(self) -> bool:
        """Whether its process has ended, or it was marked as Failed because its node is lost."""
        return self.end is not None or self.phase in ("Failed", "Succeeded")


@dataclass(frozen=True)
class GroupSeen:
    """The state of an attempt's group according to its trainers, with times of the operator's clock."""

    run: int
    attempt: int
    progress: TrainerProgress | None = None
    """Progress of rank 0 in the newest round; None: no group is known."""
    quiet_seconds: float = 0.0
    """Seconds since the last known step, or since the last trainer started, whichever is later."""
    answering: int = 0
    """Trainers that responded when they were last asked."""
    short_seconds: float = 0.0
    """Seconds for which some trainers have been running, but fewer than the group needs."""
    cut_off_seconds: float = 0.0
    """Seconds for which no responding trainer has had a response from the rendezvous pod."""
    lease_seconds: float = 0.0
    """The longest lease reported by a trainer of this attempt: seconds that workers continue without a response of the
    rendezvous pod. 0: none reported."""


@dataclass(frozen=True)
class Rival:
    """Another training with running pods that waits for more."""

    namespace: str
    name: str
    older: bool


@dataclass(frozen=True)
class StorageProblem:
    """Why the object store cannot be used now."""

    reason: str
    """See kinema_operator.core.stores.storage_reason."""
    message: str


@dataclass(frozen=True)
class ResumePoint:
    """The checkpoint that the attempt after (`run`, `attempt`) resumes from."""

    run: int
    attempt: int
    """The previous attempt; 0: there was none."""
    prefix: str | None
    """Folder of a complete checkpoint; None: there is none, start from scratch."""
    step: int = 0
    passed_over: tuple[str, ...] = ()
    """Newer folders with an incomplete manifest or incomplete files."""
    digest: str | None = None
    """Digest of its manifest."""
    time: datetime | None = None
    """When it was committed."""
    closed: bool = True
    """The previous attempt's head is closed."""


@dataclass(frozen=True)
class BaseSeen:
    """The model that a run begins with, or why there is none."""

    found: BaseStatus | None = None
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class RunFound:
    """The newest run of a training without a status, as found in the bucket."""

    run: int
    attempt: int
    """Its newest attempt."""
    older: str | None
    """Folder of the newest checkpoint of earlier attempts."""


@dataclass(frozen=True)
class ExportSeen:
    """The export of an attempt."""

    run: int
    attempt: int
    digest: str | None = None
    """Digest of the committed manifest; None: not committed yet."""
    folder: str = layout.EXPORT_FOLDER
    """Folder of the export, below the attempt."""
    step: int = 0
    """Optimizer step of the exported model."""
    published: bool = False
    """models/<digest>/manifest.json exists."""
    problem: str = ""
    """Why the export can never be published."""


@dataclass(frozen=True)
class PreparedSeen:
    """The result of preparing a run's recorded clips."""

    run: int
    attempt: int
    dataset: DatasetStatus | None = None
    """None: there is no result yet."""
    problem: str = ""
    """Why the result that is there cannot be used."""
    progress: PrepareProgress | None = None
    """How far a pod is that was asked; None: none has responded."""


@dataclass(frozen=True)
class ReportSeen:
    """The report on an attempt's model."""

    run: int
    attempt: int
    result: EvaluationResult | None = None
    """Result of the committed report; None: there is no complete one yet."""


@dataclass(frozen=True)
class Observed:
    """The input of the plan besides the training itself."""

    jobs: tuple[JobSeen, ...] = ()
    pods: tuple[PodSeen, ...] = ()
    storage_problem: StorageProblem | None = None
    """Set if a request to the store failed."""
    resume: ResumePoint | None = None
    """Set between two attempts and before a suspension, if the store was read."""
    found: RunFound | None = None
    """Set if a training without a status was found in the bucket."""
    base: BaseSeen | None = None
    """Set between attempts of a run with model.initFrom, until its status names the model."""
    cleaned_run: int = 0
    """The last run that this process has cleaned."""
    remains: bool | None = None
    """Of a training that is being deleted: whether the bucket has files of it; None: unknown."""
    export: ExportSeen | None = None
    """Set if the current attempt's export was looked up."""
    report: ReportSeen | None = None
    """Set if the report on the current attempt's model was looked up."""
    prepared: PreparedSeen | None = None
    """Set if the result of preparing recorded clips was looked up."""
    preparation_policies: tuple[Ref, ...] = ()
    """NetworkPolicies that let pods of this training reach a captioning endpoint."""
    credentials_expire: datetime | None = None
    """Expiry of the credentials in the training's Secret; None: there are none."""
    progress: TrainerProgress | None = None
    """Last response of rank 0 in the newest round."""
    nodes_watched: bool = True
    """False: no permission to watch nodes, so pods on lost nodes are not replaced."""
    quiet_seconds: float = 0.0
    """GroupSeen.quiet_seconds."""
    answering: int = 0
    """GroupSeen.answering."""
    short_seconds: float = 0.0
    """GroupSeen.short_seconds."""
    cut_off_seconds: float = 0.0
    """GroupSeen.cut_off_seconds."""
    lease_seconds: float = 0.0
    """GroupSeen.lease_seconds."""
    rivals: tuple[Rival, ...] = ()
    """Other trainings with running pods that wait for more; set if this one waits too."""
    stores_named: tuple[str, ...] = ()
    """Endpoints of the stores of this namespace's trainings; "" is the operator's own."""
    older: tuple[Ref, ...] = ()
    """Service and NetworkPolicy that an older version created for this training alone."""
    model_exists: bool = False
    """Whether the VideoModel that the training publishes to exists."""
