"""What the plan of a training may know: frozen facts, each named for the run and attempt it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from kinema_api import layout, names
from kinema_api.wire import EvaluationResult, TerminationMessage, TrainerProgress
from kinema_operator.core.plan import Ref


@dataclass(frozen=True)
class JobSeen:
    """A Job of one attempt: its trainers', or the one that measures its model."""

    name: str
    uid: str
    resource_version: str
    run: int
    attempt: int
    parallelism: int
    component: str = names.COMPONENT_TRAINER
    model: str = ""
    """Of an evaluation: the short digest of the model that it measures."""
    image: str = ""
    """What its pods run."""
    finished: Literal["Complete", "Failed"] | None = None
    message: str = ""
    """What the Job controller says about its end."""
    deleting: bool = False
    suspended: bool = False
    """Somebody, such as Kueue, lets it make no pods."""
    queue: str = ""
    """Kueue's LocalQueue that it waits in."""
    created: datetime | None = None
    subdomain: str = ""
    """Of its pods: a Service that an older version made for this training alone; empty: they need none."""


@dataclass(frozen=True)
class PodEnd:
    """How a container, or its whole pod, ended."""

    exit_code: int | None = None
    """None: the pod failed without the container having ended, as on eviction."""
    reason: str = ""
    """Of the container, such as OOMKilled, or of the pod, such as Evicted."""
    message: str = ""
    disrupted: bool = False
    """The pod has the condition DisruptionTarget (KEP-3329)."""
    word: TerminationMessage | None = None
    finished: datetime | None = None


NodeTrouble = Literal["deleted", "unreachable", "not ready"]
"""Unreachable: its kubelet is not heard of. Not ready: the kubelet itself says so."""


@dataclass(frozen=True)
class PodSeen:
    """A trainer, an evaluator or a rendezvous store."""

    name: str
    uid: str
    component: str
    run: int
    attempt: int
    phase: str = "Pending"
    started: datetime | None = None
    """When its container began to run; None: it never did."""
    waiting: str = ""
    """Why it does not run yet, as the scheduler or the kubelet says it."""
    deletion_time: datetime | None = None
    """When it should be gone: the time of the deletion plus its grace."""
    deleted: datetime | None = None
    """When it was told to go; None: it was not."""
    end: PodEnd | None = None
    generation: int | None = None
    """Of a store: see store_pod.ANNOTATION_GENERATION. None: of an older version."""
    resource_version: str = ""
    node: str = ""
    """Where it was scheduled to."""
    min_nodes: int | None = None
    """Of a store: the smallest group that it forms."""
    trouble: NodeTrouble | None = None
    """What is wrong with its node; None: nothing, or it has none yet, or nodes may not be watched."""
    trouble_since: datetime | None = None
    silent: bool | None = None
    """It was asked because of its node, and did not answer; None: it was not asked."""
    subdomain: str = ""
    """The Service that gives it a host name."""
    earlier_failures: int = 0
    """How often the Job controller has replaced pods of its index: the next replacement waits 10 s x 2^this."""

    @property
    def running(self) -> bool:
        """Its container runs, and nobody asked it to go."""
        return self.phase == "Running" and self.started is not None and self.deletion_time is None and not self.end

    @property
    def over(self) -> bool:
        """Its process has ended, or its node is dead and the pod was declared failed."""
        return self.end is not None or self.phase in ("Failed", "Succeeded")


@dataclass(frozen=True)
class GroupSeen:
    """What an attempt's trainers say of their group, by the operator's own clock."""

    run: int
    attempt: int
    progress: TrainerProgress | None = None
    """Of rank 0 in the newest round; None: no group is known of."""
    quiet_seconds: float = 0.0
    """Since a step is known to have ended, or the last trainer came, whichever is later."""
    answering: int = 0
    """Trainers that answered when they were last asked."""
    short_seconds: float = 0.0
    """For how long some trainers have been running and fewer than the group needs."""
    cut_off_seconds: float = 0.0
    """For how long none of the trainers that answer has heard the rendezvous."""
    lease_seconds: float = 0.0
    """The longest lease that a trainer of this attempt has told of: for how long workers may go on without hearing the
    rendezvous. 0: none has told."""


@dataclass(frozen=True)
class Rival:
    """Another training that holds pods and waits for more."""

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
    """Where the attempt after (`run`, `attempt`) goes on from."""

    run: int
    attempt: int
    """The attempt that is over; 0: there was none."""
    prefix: str | None
    """Folder of a whole checkpoint; None: there is none, start from scratch."""
    step: int = 0
    passed_over: tuple[str, ...] = ()
    """Newer folders whose manifest or files are torn."""
    digest: str | None = None
    """Of its manifest."""
    time: datetime | None = None
    """When it was committed."""
    closed: bool = True
    """Nothing is committed any more in the attempt that is over."""


@dataclass(frozen=True)
class RunFound:
    """The newest run of a training whose status is lost, as the bucket shows it."""

    run: int
    attempt: int
    """Its newest attempt."""
    older: str | None
    """Folder of the newest checkpoint of the attempts before."""


@dataclass(frozen=True)
class ExportSeen:
    """Whether an attempt has committed its finished model."""

    run: int
    attempt: int
    digest: str | None = None
    """Digest of the committed manifest; None: there is none yet."""
    folder: str = layout.EXPORT_FOLDER
    """Where it lies, below the attempt."""
    step: int = 0
    """Optimizer step of the exported model."""
    published: bool = False
    """models/<digest>/manifest.json exists."""
    problem: str = ""
    """Why the export can never be published, found when its files were checked."""


@dataclass(frozen=True)
class ReportSeen:
    """Whether the model of an attempt has been measured."""

    run: int
    attempt: int
    result: EvaluationResult | None = None
    """Of the committed report; None: there is none that is whole yet."""


@dataclass(frozen=True)
class Observed:
    """Everything that the plan looks at besides the training itself."""

    jobs: tuple[JobSeen, ...] = ()
    pods: tuple[PodSeen, ...] = ()
    storage_problem: StorageProblem | None = None
    """Set when the store was asked and could not answer."""
    resume: ResumePoint | None = None
    """Set when the training is between two attempts, or about to be suspended, and the store was asked."""
    found: RunFound | None = None
    """Set when a training without a status was looked for in the bucket, and found."""
    cleaned_run: int = 0
    """The run that this operator has cleaned."""
    remains: bool | None = None
    """Of a training that is being deleted: whether the bucket holds anything of it; None: the store cannot say now."""
    export: ExportSeen | None = None
    """Set when the store was asked about the current attempt's export."""
    report: ReportSeen | None = None
    """Set when the store was asked about the report on the current attempt's model."""
    credentials_expire: datetime | None = None
    """Of the credentials in the training's Secret; None: there are none."""
    progress: TrainerProgress | None = None
    """Of rank 0 in the newest round, as it last answered."""
    nodes_watched: bool = True
    """False: the operator may not watch nodes, so pods on lost ones stay as they are."""
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
    """Other trainings that hold pods and wait for more; looked for when this one does."""
    stores_named: tuple[str, ...] = ()
    """Endpoints of the stores that the trainings of this namespace name; "" is the operator's own."""
    older: tuple[Ref, ...] = ()
    """Service and NetworkPolicy that an older version made for this training alone."""
    model_exists: bool = False
    """There is a VideoModel of the name that the training publishes to."""
