"""Whatever happens to a training, in whatever order, with the operator dying between any two writes.

A small world stands for the API server, the trainers and the bucket: it keeps what plans make and delete, and shows
it to the next look. Hypothesis drives it through failures, resizes, suspensions, evaluations, new runs and lost
writes.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from examples import examples
from kinema_api import names
from kinema_api.prepare import PreparedDataset
from kinema_api.training import VideoModelTraining
from kinema_api.training_status import DatasetStatus
from kinema_api.wire import EvaluationResult
from kinema_operator.core.plan import Plan
from kinema_operator.core.settings import Settings
from kinema_operator.training.effects import IssueCredentials
from kinema_operator.training.observed import (
    ExportSeen,
    JobSeen,
    Observed,
    PodEnd,
    PodSeen,
    PreparedSeen,
    ReportSeen,
    ResumePoint,
    StorageProblem,
)
from kinema_operator.training.plan import decide
from kinema_operator.training.view import View

SETTINGS = Settings(store_endpoint="http://minio:9000")
DIGEST = "sha256:" + "b" * 64
GATE = 0.5
SETTLED_AFTER = 12
"""Looks that bring any state to rest, when nothing else happens."""


class World(RuleBasedStateMachine):
    """One training, its objects and its bucket."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self.spec: dict[str, Any] = {
            "model": {"preset": "tiny"},
            "data": {"world": {}},
            "optimization": {"steps": 100},
            "nodes": 2,
            "elastic": {"minNodes": 1, "maxNodes": 4},
        }
        self.status: dict[str, Any] = {}
        self.jobs: dict[str, JobSeen] = {}
        self.pods: dict[str, PodSeen] = {}
        self.credentials: datetime | None = None
        self.exported: set[tuple[int, int]] = set()
        self.reports: dict[tuple[int, int], float] = {}
        """Accuracy by run and attempt."""
        self.published: set[str] = set()
        self.store_is_away = False
        self.collector_is_slow = True
        self.serial = 0
        self.resume_points: dict[tuple[int, int], str | None] = {}

    # What the operator does

    def training(self) -> VideoModelTraining:
        metadata = {"name": "t", "namespace": "n", "uid": "u", "generation": 1}
        return VideoModelTraining.parse({"metadata": metadata, "spec": self.spec, "status": self.status})

    def look(self) -> View:
        training = self.training()
        at = (training.status.run, training.status.attempt)
        seen = Observed(
            jobs=tuple(self.jobs.values()),
            pods=tuple(self.pods.values()),
            credentials_expire=self.credentials if self.credentials and self.credentials > self.now else None,
        )
        if self.store_is_away:
            seen = dataclasses.replace(seen, storage_problem=StorageProblem("StorageUnreachable", "away"))
            return View(training, seen, SETTINGS, self.now)
        digest = DIGEST if at in self.exported else None
        export = ExportSeen(*at, digest=digest, published=digest in self.published)
        result = None
        if at in self.reports:
            result = EvaluationResult(model_digest=DIGEST, accuracy={"colour": self.reports[at]}, seconds=1)
        seen = dataclasses.replace(seen, export=export, report=ReportSeen(*at, result))
        view = View(training, seen, SETTINGS, self.now)
        resume = ResumePoint(*at, prefix=f"attempt-{at[1]:03d}/step/" if at[1] else None, step=at[1])
        if view.wants_new_run:
            resume = ResumePoint(at[0] + 1, 0, None)
        return View(training, dataclasses.replace(view.seen, resume=resume), SETTINGS, self.now)

    def carry_out(self, plan: Plan, writes: int | None = None) -> None:
        """Like the shell, in its order; `writes` says how many it lives to do."""
        steps: list[Any] = [*plan.delete, *plan.apply, *plan.patches]
        steps += [plan.status] if plan.status else []
        steps += plan.effects
        for step in steps[:writes]:
            self.write(step)

    def write(self, step: Any) -> None:
        match step:
            case IssueCredentials():
                self.credentials = self.now + timedelta(seconds=SETTINGS.credentials_seconds)
            case _ if hasattr(step, "to_wire"):
                self.save(step)
            case _ if hasattr(step, "manifest"):
                self.make(step.manifest)
            case _ if hasattr(step, "body"):
                job = self.jobs[step.ref.uid]
                assert job.resource_version == step.resource_version
                self.serial += 1
                spec = step.body["spec"]
                assert spec["parallelism"] == spec["completions"]
                self.jobs[job.uid] = dataclasses.replace(
                    job, parallelism=spec["parallelism"], resource_version=str(self.serial)
                )
            case _ if hasattr(step, "uid"):
                self.pods.pop(step.uid, None)
                if step.uid in self.jobs:
                    self.jobs[step.uid] = dataclasses.replace(self.jobs[step.uid], deleting=True)
                if not self.collector_is_slow:
                    self.collect_garbage()

    def collect_garbage(self) -> None:
        """Deleted Jobs go, and their pods with them."""
        gone = {(job.component, job.run, job.attempt) for job in self.jobs.values() if job.deleting}
        self.jobs = {uid: job for uid, job in self.jobs.items() if not job.deleting}
        self.pods = {uid: pod for uid, pod in self.pods.items() if (pod.component, pod.run, pod.attempt) not in gone}

    def save(self, status: Any) -> None:
        before = self.training().status
        assert (status.run, status.attempt) >= (before.run, before.attempt), "an attempt never goes back"
        assert status.run <= before.run + 1
        at = (status.run, status.attempt)
        if status.attempt:
            assert self.resume_points.setdefault(at, status.resume_from) == status.resume_from, "fixed means fixed"
        self.status = status.to_wire()

    def make(self, manifest: dict[str, Any]) -> None:
        kind, metadata = manifest["kind"], manifest["metadata"]
        run, attempt = (metadata["labels"].get(label) for label in (names.LABEL_RUN, names.LABEL_ATTEMPT))
        at = (int(run), int(attempt)) if attempt else None
        if at:
            persisted = self.training().status
            assert at == (persisted.run, persisted.attempt), "made before the status that fixes its attempt"
        self.serial += 1
        uid = f"uid-{self.serial}"
        taken = {thing.name for things in (self.jobs, self.pods) for thing in things.values()}
        if metadata["name"] in taken and kind != "Pod":
            return
        if kind == "Job" and at:
            labels = metadata["labels"]
            component, model = labels[names.LABEL_COMPONENT], labels.get(names.LABEL_DIGEST, "")
            assert component not in self.components(), "never two Jobs"
            assert component != names.COMPONENT_EVALUATOR or self.training().status.evaluation
            if component == names.COMPONENT_PUBLISHER:
                assert at in self.exported
                assert "evaluation" not in self.spec or self.reports[at] >= GATE, "not good enough"
            self.jobs[uid] = JobSeen(
                metadata["name"], uid, str(self.serial), *at,
                parallelism=manifest["spec"]["parallelism"], component=component, model=model,
            )  # fmt: skip
        elif kind == "Pod" and at:
            smallest = int(metadata["annotations"]["kinema.dev/min-nodes"])
            self.pods[uid] = PodSeen(
                metadata["name"], uid, names.COMPONENT_STORE, *at, phase="Running", min_nodes=smallest
            )

    def components(self) -> list[str]:
        """Of each Job that is there."""
        return [job.component for job in self.jobs.values()]

    @rule(times=st.integers(1, 4))
    def reconcile(self, times: int) -> None:
        for _ in range(times):
            view = self.look()
            plan = decide(view)
            assert plan == decide(view), "the same look gives the same plan"
            self.carry_out(plan)

    @rule(writes=st.integers(0, 8))
    def reconcile_and_die(self, writes: int) -> None:
        self.carry_out(decide(self.look()), writes)

    # What happens to it

    @rule(seconds=st.sampled_from([1, 11, 60, 400, 2000]))
    def time_goes_by(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(nodes=st.integers(1, 4))
    def somebody_scales(self, nodes: int) -> None:
        self.spec = {**self.spec, "nodes": nodes}

    @rule(value=st.booleans())
    def somebody_suspends(self, value: bool) -> None:
        self.spec = {**self.spec, "suspend": value}

    @rule(run_id=st.sampled_from(["a", "b"]))
    def somebody_wants_another_run(self, run_id: str) -> None:
        self.spec = {**self.spec, "runId": run_id}

    @rule(away=st.booleans())
    def the_store_comes_and_goes(self, away: bool) -> None:
        self.store_is_away = away

    @rule(slow=st.booleans())
    def the_garbage_collector_changes_its_pace(self, slow: bool) -> None:
        self.collector_is_slow = slow
        if not slow:
            self.collect_garbage()

    def models_are_copied(self) -> None:
        """What the pods of publications do, if there is one."""
        for job in [job for job in self.jobs.values() if job.component == names.COMPONENT_PUBLISHER]:
            self.published.add(DIGEST)
            self.jobs[job.uid] = dataclasses.replace(job, finished="Complete")

    @rule()
    def the_publisher_gets_through(self) -> None:
        self.models_are_copied()

    @precondition(lambda self: self.jobs)
    @rule()
    def pods_start(self) -> None:
        for job in self.jobs.values():
            for index in range(job.parallelism):
                self.pods[f"{job.uid}-{index}"] = PodSeen(
                    f"{job.name}-{index}", f"{job.uid}-{index}", job.component, job.run, job.attempt,
                    phase="Running", started=self.now,
                )  # fmt: skip

    @precondition(lambda self: self.pods)
    @rule(code=st.sampled_from([0, 1, 2, 40, 41, 42, 43, 137]), data=st.data())
    def a_pod_dies(self, code: int, data: st.DataObject) -> None:
        uid = data.draw(st.sampled_from(sorted(self.pods)))
        pod = self.pods[uid]
        end = PodEnd(exit_code=code, finished=self.now) if pod.component != names.COMPONENT_STORE else None
        self.pods[uid] = dataclasses.replace(pod, phase="Failed" if code else "Succeeded", end=end)

    @precondition(lambda self: self.jobs)
    @rule(how=st.sampled_from(["Complete", "Failed"]))
    def the_job_ends(self, how: Any) -> None:
        self.jobs = {uid: dataclasses.replace(job, finished=how) for uid, job in self.jobs.items()}

    @precondition(lambda self: self.jobs)
    @rule()
    def somebody_deletes_the_job(self) -> None:
        for uid in list(self.jobs):
            self.write(type("Ref", (), {"uid": uid})())

    @precondition(lambda self: self.jobs)
    @rule()
    def the_trainers_export(self) -> None:
        self.exported |= {(job.run, job.attempt) for job in self.jobs.values()}

    # What must hold

    @invariant()
    def no_two_jobs(self) -> None:
        assert len(self.components()) == len(set(self.components()))

    @invariant()
    def what_is_done_is_published(self) -> None:
        status = self.training().status
        if status.phase == "Succeeded":
            assert status.published is not None
            assert status.published.digest in self.published

    @invariant()
    def left_alone_it_comes_to_rest(self) -> None:
        kept = {name: value.copy() if hasattr(value, "copy") else value for name, value in vars(self).items()}
        until = self.training().status.not_before
        if until and until > self.now:
            self.now = until
        self.collector_is_slow = False
        for _ in range(SETTLED_AFTER):
            self.collect_garbage()
            if not self.store_is_away:
                self.models_are_copied()
            self.carry_out(decide(self.look()))
        view = self.look()
        plan = decide(view)
        assert plan.status == view.training.status, "nothing more to write"
        assert [a for a in plan.apply if a.once] == []
        assert (plan.delete, plan.patches, plan.events) == ((), (), ())
        vars(self).update(kept)


class MeasuringWorld(World):
    """One whose model is measured before it is published; its first model is being measured."""

    def __init__(self) -> None:
        super().__init__()
        self.spec["evaluation"] = {"gate": {"colour": GATE}}

    @initialize()
    def a_model_is_exported(self) -> None:
        self.reconcile(3)
        self.pods_start()
        self.the_trainers_export()
        self.reconcile(2)

    @precondition(lambda self: names.COMPONENT_EVALUATOR in self.components())
    @rule(accuracy=st.sampled_from([0.0, GATE, 1.0]))
    def the_evaluator_reports(self, accuracy: float) -> None:
        measured = [job for job in self.jobs.values() if job.component == names.COMPONENT_EVALUATOR]
        for job in measured:
            self.reports.setdefault((job.run, job.attempt), accuracy)


class PreparingWorld(World):
    """One that trains on recorded clips, which each run prepares first."""

    URI = "s3://kinema/inputs/n/clips/"

    def __init__(self) -> None:
        super().__init__()
        self.spec["data"] = {"videos": [{"uri": self.URI}]}
        self.prepared: set[int] = set()
        """Runs whose result is in the bucket."""

    def look(self) -> View:
        view = super().look()
        if self.store_is_away:
            return view
        run, attempt = view.status.run, view.status.attempt
        made = PreparedDataset(
            uri=self.URI, prefix="datasets/n/aaaaaaaa/bbbbbbbb/", digest=DIGEST, samples=1, inputs=1, seconds=1, bytes=1
        )
        dataset = DatasetStatus(digest=DIGEST, samples=1, seconds=1, report_uri="", datasets=(made,))
        seen = PreparedSeen(run, attempt, dataset if run in self.prepared else None)
        return View(view.training, dataclasses.replace(view.seen, prepared=seen), SETTINGS, self.now)

    def make(self, manifest: dict[str, Any]) -> None:
        component = manifest["metadata"]["labels"][names.LABEL_COMPONENT]
        status = self.training().status
        if manifest["kind"] == "Job" and component == names.COMPONENT_PREPARER:
            assert status.dataset is None, "prepared already"
        if manifest["kind"] == "Job" and component == names.COMPONENT_TRAINER:
            assert status.dataset is not None, "nothing to train on"
            assert status.run in self.prepared
        super().make(manifest)

    def save(self, status: Any) -> None:
        assert status.attempt == 0 or status.dataset is not None, "an attempt without its clips"
        super().save(status)

    @precondition(lambda self: names.COMPONENT_PREPARER in self.components())
    @rule()
    def the_clips_are_prepared(self) -> None:
        self.prepared |= {job.run for job in self.jobs.values() if job.component == names.COMPONENT_PREPARER}


TestHistory = World.TestCase
TestHistory.settings = hypothesis_settings(max_examples=examples(60), stateful_step_count=25, deadline=None)
TestPreparingHistory = PreparingWorld.TestCase
TestPreparingHistory.settings = hypothesis_settings(max_examples=examples(60), stateful_step_count=25, deadline=None)
TestMeasuringHistory = MeasuringWorld.TestCase
TestMeasuringHistory.settings = hypothesis_settings(max_examples=examples(40), stateful_step_count=20, deadline=None)
