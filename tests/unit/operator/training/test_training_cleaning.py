"""What a training leaves in the bucket: no more than is of use, and nothing where that was asked for."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kinema_api import layout
from kinema_api.base import utc_now
from kinema_api.errors import StorageError, StorageUnreachable
from kinema_api.objectstore import StoreLocation
from kinema_api.objectstores import open_store
from kinema_operator.core.plan import Key, Plan
from kinema_operator.core.settings import Settings
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.training.controller import TrainingController
from kinema_operator.training.observed import Observed
from kinema_operator.training.plan import decide
from unit.operator.training.conftest import BASE
from unit.operator.training.facts import STORE, at_work, trainer

KEY = Key("VideoModelTraining", "team", "t")
FINALIZER = "kinema.dev/artifacts"
FOLDER = "trainings/team/t/u/"
DONE = {
    "run": 1, "attempt": 2, "phase": "Succeeded", "completionTime": "2026-03-01T10:00:00Z", "cleanedRun": 1,
}  # fmt: skip


class Stores:
    def __init__(self, folder: Path) -> None:
        (folder / "kinema").mkdir(parents=True)
        self.store = open_store(StoreLocation(endpoint=f"file://{folder}", bucket="kinema"), None)
        self.away = False

    async def checked(self, namespace: str, artifact_store: Any) -> Any:
        if self.away:
            raise StorageUnreachable("the store does not answer")
        return self.store

    for_object = checked


class Home:
    """One training as the API server has it, and its bucket."""

    def __init__(self, folder: Path) -> None:
        self.stores = Stores(folder)
        settings = Settings(store_endpoint=f"file://{folder}", store_bucket="kinema")
        self.controller = TrainingController(settings, self, self.stores, 1)  # type: ignore[arg-type]
        self.obj: dict[str, Any] = {
            "apiVersion": "kinema.dev/v1alpha1",
            "kind": "VideoModelTraining",
            "metadata": {
                "name": "t", "namespace": "team", "uid": "u", "generation": 1, "resourceVersion": "1",
                "annotations": {"kinema.dev/artifacts": "u/1/"},
            },
            "spec": {key: value for key, value in BASE.items() if key != "publish"},
            "status": {key: value for key, value in DONE.items() if key != "cleanedRun"},
        }  # fmt: skip
        self.events: list[str] = []

    async def get(self, kind: str, namespace: str, name: str) -> Any:
        return self.obj if kind == "VideoModelTraining" else None

    async def patch(self, ref: Any, body: Any, resource_version: str | None) -> dict[str, Any]:
        self.obj["metadata"] |= body["metadata"]
        return self.obj

    def put(self, *keys: str) -> None:
        for key in keys:
            self.stores.store.put(key, b"x")

    def left(self, prefix: str = FOLDER) -> set[str]:
        return {found.key.removeprefix(prefix) for found in self.stores.store.list(prefix)}

    async def look(self, times: int = 4) -> Plan:
        for _ in range(times):
            seen = await self.controller.observe(KEY, self.controller.parse(self.obj), ObjectCache(lambda _: None))
            plan = self.controller.plan(self.controller.parse(self.obj), seen, utc_now())
            self.events += [f"{event.reason}: {event.message}" for event in plan.events]
            if plan.status is not None:
                self.obj["status"] = plan.status.to_wire()
            for effect in plan.effects:
                with suppress(StorageError):
                    await self.controller.perform(KEY, self.controller.parse(self.obj), effect)
        return plan


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "store")


def checkpoint(attempt: int, step: int) -> list[str]:
    folder = layout.checkpoint_prefix(f"{FOLDER}run-001/attempt-{attempt:03d}/", step, 1)
    return [folder + "w.distcp", folder + layout.MANIFEST]


async def test_attempts_are_cleaned_once_their_model_is_published(home: Home) -> None:
    for step in (10, 20, 30, 40):
        home.put(*checkpoint(2, step))
    report = [f"{FOLDER}run-001/attempt-002/evaluation/{name}" for name in ("report.html", "manifest.json")]
    export = f"{FOLDER}run-001/attempt-002/export/"
    home.put(*checkpoint(1, 5), f"{FOLDER}run-001/attempt-001/step-00000007/round-0001/half-written", *report)
    home.put(export + "model.safetensors", export + "manifest.json", "models/abc/manifest.json", "trainings/team/t/v/x")
    await home.look()
    kept = [key for step in (20, 30, 40) for key in checkpoint(2, step)]
    assert home.left() == {key.removeprefix(FOLDER) for key in (*kept, *report, export + "manifest.json")}
    assert home.left("models/") == {"abc/manifest.json"}
    assert home.left("trainings/team/t/v/") == {"x"}
    home.put(*checkpoint(1, 5))
    await home.look()
    assert "run-001/attempt-001/step-00000005/round-0001/w.distcp" in home.left(), "once: not a list at each look"


@pytest.mark.parametrize("phase", ["Failed", "Suspended"])
async def test_what_another_attempt_could_go_on_from_is_not_cleaned(home: Home, phase: str) -> None:
    home.obj["status"]["phase"] = phase
    home.obj["spec"]["suspend"] = phase == "Suspended"
    home.put(*checkpoint(1, 5), *checkpoint(2, 10))
    before = home.left()
    await home.look()
    assert home.left() == before


async def test_delete_takes_the_artefacts_and_nothing_else(home: Home) -> None:
    home.obj["spec"]["deletionPolicy"] = "Delete"
    home.obj["metadata"] |= {"finalizers": [FINALIZER, "other/one"], "deletionTimestamp": utc_now().isoformat()}
    home.put(*checkpoint(1, 5), *checkpoint(2, 10), "trainings/team/t/v/x", "trainings/team/tt/u/x", "models/abc/y")
    await home.look()
    assert home.left() == set()
    assert home.left("trainings/") == {"team/t/v/x", "team/tt/u/x"}
    assert home.left("models/") == {"abc/y"}
    assert home.obj["metadata"]["finalizers"] == ["other/one"]


async def test_a_store_that_stays_away_holds_a_deleted_training_for_ten_minutes(home: Home) -> None:
    home.obj["spec"]["deletionPolicy"] = "Delete"
    at = utc_now() - timedelta(minutes=9)
    home.obj["metadata"] |= {"finalizers": [FINALIZER], "deletionTimestamp": at.isoformat()}
    home.stores.away = True
    await home.look(1)
    assert (home.obj["metadata"]["finalizers"], home.events) == ([FINALIZER], [])
    home.obj["metadata"]["deletionTimestamp"] = (at - timedelta(minutes=1)).isoformat()
    await home.look(1)
    assert home.obj["metadata"]["finalizers"] == []
    assert [event for event in home.events if "ArtifactsLeft" in event and FOLDER in event and "answer" in event]


async def test_only_delete_has_a_finalizer(home: Home) -> None:
    await home.look()
    assert home.obj["metadata"].get("finalizers", []) == []
    home.obj["spec"]["deletionPolicy"] = "Delete"
    await home.look()
    assert home.obj["metadata"].get("finalizers", []) == [FINALIZER]
    home.obj["spec"]["deletionPolicy"] = "Retain"
    await home.look()
    assert home.obj["metadata"]["finalizers"] == []


def test_trainers_end_before_what_they_write_is_deleted(make_view: Any, now: datetime) -> None:
    view = make_view({"run": 1, "attempt": 1, "phase": "Training"}, at_work(now), deletionPolicy="Delete")
    meta = view.training.metadata.model_copy(update={"deletion_timestamp": now, "finalizers": (FINALIZER,)})
    leaving = dataclasses.replace(view, training=view.training.model_copy(update={"metadata": meta}))
    plan = decide(leaving)
    assert [ref.kind for ref in plan.delete] == ["Job"]
    assert plan.effects == ()


def goes(plan: Plan) -> bool:
    return any(ref.kind == "VideoModelTraining" for ref in plan.delete)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_training_goes_when_its_ttl_is_over(make_view: Any, now: datetime, phase: str) -> None:
    done = {**DONE, "phase": phase}
    plan = decide(make_view(done, Observed(), ttlSecondsAfterFinished=7200))
    assert goes(plan), "two hours after its end"
    assert [event.reason for event in plan.events] == ["Expired"]
    assert not goes(decide(make_view(done, Observed(), ttlSecondsAfterFinished=7201)))
    assert decide(make_view(done, Observed(), ttlSecondsAfterFinished=7260)).requeue_after == 60
    assert not goes(decide(make_view(done, Observed())))
    running = at_work(now, jobs=(), pods=(STORE, trainer("a", now)))
    assert not goes(decide(make_view(done, running, ttlSecondsAfterFinished=0))), "its pods end first"
    assert not goes(decide(make_view(done, Observed(), ttlSecondsAfterFinished=0, runId="next")))
