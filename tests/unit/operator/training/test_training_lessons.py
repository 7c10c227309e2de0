"""What is not finite again and again is left behind, and what has broken hardware is left out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kinema_api import layout
from kinema_api.manifest import Manifest, ManifestFile
from kinema_api.objectstore import ObjectStore, StoreLocation
from kinema_api.objectstores import open_store
from kinema_api.training import VideoModelTraining
from kinema_api.training_status import FailureClass
from kinema_api.wire import TerminationMessage, TrainerProgress
from kinema_operator.core.plan import Key, Plan
from kinema_operator.core.settings import Settings
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.training.controller import TrainingController
from kinema_operator.training.observed import ExportSeen, Observed, PodEnd
from kinema_operator.training.plan import decide
from kinema_operator.training.read import read_pod
from kinema_operator.training.view import View
from unit.operator.training.facts import STORE, message, status_of, trainer

RUN = "trainings/team/tiny-world/7a1f/run-001/"
LATER = timedelta(hours=1)


class Folder:
    """The stores of the operator, all of them one folder."""

    def __init__(self, path: Path) -> None:
        (path / "kinema").mkdir()
        self.store: ObjectStore = open_store(StoreLocation(endpoint=f"file://{path}", bucket="kinema"), None)

    async def checked(self, namespace: str, artifact_store: Any) -> ObjectStore:
        return self.store

    async def for_object(self, namespace: str, artifact_store: Any) -> ObjectStore:
        return self.store


class NoSecrets:
    async def get(self, kind: str, namespace: str, name: str) -> None:
        return None


class Life:
    """A training whose attempts begin and end by the plan, with a folder as its store."""

    def __init__(self, training: VideoModelTraining, settings: Settings, now: datetime, path: Path) -> None:
        self.training, self.now = training, now
        self.settings = settings.model_copy(update={"store_endpoint": f"file://{path}", "store_bucket": "kinema"})
        self.folder = Folder(path)
        self.controller = TrainingController(self.settings, NoSecrets(), self.folder, 1)  # type: ignore[arg-type]

    def decide(self, seen: Observed) -> Plan:
        plan = decide(View(self.training, seen, self.settings, self.now))
        self.training = self.training.model_copy(update={"status": status_of(plan)})
        return plan

    async def begin(self) -> str | None:
        """What the next attempt resumes from, as seen from the bucket."""
        self.now += LATER
        for _ in range(4):
            obj = {name: getattr(self.training, name).to_wire() for name in ("metadata", "spec", "status")}
            key = Key("VideoModelTraining", "team", "tiny-world")
            seen = await self.controller.observe(key, self.controller.parse(obj), ObjectCache(lambda _: None))
            assert seen is not None
            for effect in self.decide(seen).effects:
                if type(effect).__name__ == "CloseAttempt":  # a class that older code does not have
                    await self.controller.perform(key, self.controller.parse(obj), effect)
            if self.training.status.not_before is None and self.training.status.attempt:
                break
        found = self.training.status.resume_from
        return found.partition("/step-")[2] if found else None

    def commit(self, step: int) -> None:
        attempt = self.training.status.attempt
        where = layout.checkpoint_prefix(f"{RUN}attempt-{attempt:03d}/", step, 1)
        file = ManifestFile(name="w.distcp", sha256=hashlib.sha256(b"w").hexdigest(), bytes=1)
        self.folder.store.put(where + file.name, b"w")
        manifest = Manifest(
            kind="checkpoint",
            files=(file,),
            run=1,
            attempt=attempt,
            round=1,
            step=step,
            world_size=2,
            samples=0,
            created=datetime(2026, 3, 1, tzinfo=UTC),
        )
        self.folder.store.put(where + layout.MANIFEST, manifest.to_bytes())

    def end(self, failure_class: FailureClass, at: int, code: int = 41, **fields: Any) -> Plan:
        """A trainer ends after `at` whole steps."""
        attempt = self.training.status.attempt
        self.training = self.training.model_copy(
            update={"status": self.training.status.model_copy(update={"phase": "Training"})}
        )
        word = TerminationMessage(failure_class=failure_class, message=f"the loss of step {at + 1} is nan", step=at)
        return self.decide(ended(self.now, attempt, code, word, **fields))

    def trainers(self) -> dict[str, Any]:
        """The pod template of the attempt's Job."""
        seen = Observed(credentials_expire=self.now + LATER)
        jobs = [a.manifest for a in self.decide(seen).apply if a.manifest["kind"] == "Job"]
        return dict(jobs[0]["spec"]["template"]["spec"])


def ended(now: datetime, attempt: int, code: int, word: TerminationMessage, **fields: Any) -> Observed:
    dead = trainer("b", now, PodEnd(exit_code=code, word=word, finished=now), **fields)
    pods = tuple(dataclasses.replace(pod, attempt=attempt) for pod in (STORE, dead))
    return Observed(pods=pods, credentials_expire=now + LATER, export=ExportSeen(1, attempt))


@pytest.fixture
def life(make_training: Any, settings: Settings, now: datetime, tmp_path: Path) -> Life:
    return Life(make_training(), settings, now, tmp_path)


async def test_each_retry_of_what_is_not_finite_goes_back_one_checkpoint_more(life: Life) -> None:
    assert await life.begin() is None
    for step in (10, 20, 30):
        life.commit(step)
    began = []
    for _ in range(2):
        life.end("numerics", 33)
        began.append(await life.begin())
    assert began == ["00000030/round-0001/", "00000020/round-0001/"]


async def test_going_back_further_is_not_undone_by_what_was_committed_meanwhile(life: Life) -> None:
    await life.begin()
    for step in (10, 20, 30):
        life.commit(step)
    life.end("numerics", 45)
    assert await life.begin() == "00000030/round-0001/"
    life.commit(40)
    life.end("numerics", 45)
    assert await life.begin() == "00000020/round-0001/"


async def test_after_a_further_step_another_failure_goes_back_to_the_newest(life: Life) -> None:
    await life.begin()
    life.commit(10)
    life.end("numerics", 13)
    await life.begin()
    life.commit(20)
    life.end("numerics", 22)
    assert await life.begin() == "00000020/round-0001/"


async def test_other_failures_go_on_from_the_newest_checkpoint(life: Life) -> None:
    await life.begin()
    life.commit(10)
    for at in (13, 13):
        life.end("numerics", at)
        await life.begin()
    life.commit(20)
    life.end("stall", 22, code=42)
    assert await life.begin() == "00000020/round-0001/"


async def test_a_batch_that_fails_twice_is_named_in_status_and_passed_over(life: Life) -> None:
    await life.begin()
    life.commit(10)
    life.end("numerics", 13)
    await life.begin()
    (argument,) = [a for a in life.trainers()["containers"][0]["args"] if a.startswith("{")]
    assert not json.loads(argument).get("skippedSteps"), "the same order once more"
    plan = life.end("numerics", 13)
    assert "the batch of step 14 is skipped" in message(plan, "Running")
    told = life.training.status.to_wire()["numerics"]
    assert (told["skipped"], told["failures"]) == ([14], 2)
    await life.begin()
    (argument,) = [a for a in life.trainers()["containers"][0]["args"] if a.startswith("{")]
    assert json.loads(argument)["skippedSteps"] == [13]


async def test_a_node_whose_hardware_failed_gets_no_trainer_of_the_run_any_more(life: Life) -> None:
    await life.begin()
    word = '{"failureClass": "hardware", "message": "uncorrectable ECC error on GPU 3"}'
    labels = {"app.kubernetes.io/component": "trainer", "kinema.dev/run": "1", "kinema.dev/attempt": "1"}
    pod = {
        "metadata": {"name": "b", "uid": "b", "labels": labels},
        "spec": {"nodeName": "gpu-7"},
        "status": {
            "phase": "Failed",
            "containerStatuses": [
                {"name": "trainer", "state": {"terminated": {"exitCode": 45, "reason": "Error", "message": word}}}
            ],
        },
    }
    dead = read_pod(pod)
    assert dead.end is not None
    pods = (STORE, dead)
    plan = life.decide(Observed(pods=pods, credentials_expire=life.now + LATER, export=ExportSeen(1, 1)))
    assert "gpu-7" in message(plan, "Running"), "the failure ends the attempt and names the node"
    assert life.training.status.not_before == life.now, "at once: it runs elsewhere"
    assert await life.begin() is None
    affinity = life.trainers()["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = affinity["nodeSelectorTerms"]
    assert term["matchFields"] == [{"key": "metadata.name", "operator": "NotIn", "values": ["gpu-7"]}]


@pytest.mark.parametrize(
    ("step", "upload", "grace"), [(0.1, 1.0, 60), (20.0, 70.0, 210), (60.0, 3000.0, 600), (None, None, 60)]
)
async def test_trainers_are_given_the_grace_that_steps_and_uploads_took(
    life: Life, step: float | None, upload: float | None, grace: int
) -> None:
    await life.begin()
    told = {"run": 1, "attempt": 1, "round": 1, "rank": 0, "worldSize": 2, "step": 7, "totalSteps": 800}
    measured = {"stepSeconds": step, "checkpointSeconds": upload}
    progress = TrainerProgress.model_validate(told | {name: s for name, s in measured.items() if s is not None})
    pods = (STORE, trainer("a", life.now), trainer("b", life.now))
    life.decide(Observed(pods=pods, credentials_expire=life.now + LATER, progress=progress))
    life.end("stall", 7, code=42)
    await life.begin()
    assert life.trainers()["terminationGracePeriodSeconds"] == grace
