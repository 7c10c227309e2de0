"""Trainings that cannot all be placed do not wait for one another for ever."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kinema_api.base import find_condition
from kinema_api.objectstore import StoreLocation
from kinema_api.objectstores import open_store
from kinema_api.training import VideoModelTraining
from kinema_operator.core.plan import Key
from kinema_operator.core.settings import Settings
from kinema_operator.shell.cache import ObjectCache
from kinema_operator.training import trainers as asking
from kinema_operator.training.controller import TrainingController
from kinema_operator.training.plan import decide
from kinema_operator.training.view import View
from unit.operator.training.conftest import BASE

START = datetime.now(UTC).replace(microsecond=0)


class FolderStores:
    def __init__(self, folder: Path) -> None:
        (folder / "kinema").mkdir(parents=True)
        self._store = open_store(StoreLocation(endpoint=f"file://{folder}", bucket="kinema"), None)

    async def checked(self, namespace: str, artifact_store: Any) -> Any:
        return self._store

    for_object = checked


class Secrets:
    async def get(self, kind: str, namespace: str, name: str) -> None:
        return None


class Cluster:
    """Trainings, a Job controller and a scheduler that places pods one by one, in turn."""

    def __init__(self, room: int, settings: Settings, folder: Path, monkeypatch: Any) -> None:
        self.room, self.settings = room, settings
        self.ahead = 0.0
        monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + self.ahead))
        stores = FolderStores(folder)
        self._controller = TrainingController(settings, Secrets(), stores, 1)  # type: ignore[arg-type]
        self.objects: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, list[dict[str, Any]]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.told: dict[str, list[str]] = {}

    def add(self, name: str, nodes: int, namespace: str = "team") -> None:
        born = START + timedelta(seconds=len(self.objects))
        self.objects[name] = {
            "kind": "VideoModelTraining",
            "metadata": {
                "name": name, "namespace": namespace, "uid": f"uid-{name}", "generation": 1, "resourceVersion": "1",
                "creationTimestamp": born.strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
            "spec": {key: value for key, value in BASE.items() if key not in ("elastic", "publish")} | {"nodes": nodes},
        }  # fmt: skip
        self.pods[name], self.told[name] = [], []
        found = VideoModelTraining.parse(self.objects[name])
        self._controller._observer.remember_credentials(found, START + timedelta(days=7))

    def placed(self, name: str) -> int:
        return sum(pod["status"]["phase"] == "Running" for pod in self.pods[name])

    def trains(self, name: str) -> bool:
        return self.placed(name) == self.objects[name]["spec"]["nodes"]

    def schedule(self) -> None:
        """Give the places that are free to whoever comes first, one pod of each training at a time."""
        free = self.room - sum(self.placed(name) for name in self.pods)
        for turn in range(max(map(len, self.pods.values()), default=0)):
            for pods in self.pods.values():
                if free > 0 and turn < len(pods) and pods[turn]["status"]["phase"] == "Pending":
                    free -= 1
                    state = {"running": {"startedAt": self.objects["old"]["metadata"]["creationTimestamp"]}}
                    pods[turn]["status"] = {
                        "phase": "Running", "containerStatuses": [{"name": "trainer", "state": state}],
                    }  # fmt: skip

    async def look(self, name: str) -> None:
        obj = self.objects[name]
        cache = ObjectCache(lambda _: None)
        contents = {
            "VideoModelTraining": list(self.objects.values()),
            "Job": list(self.jobs.values()),
            "Pod": [pod for pods in self.pods.values() for pod in pods],
        }
        for kind, found in contents.items():
            cache.watch_kind(kind, {})
            cache.replace(kind, found, 10)
        training = VideoModelTraining.parse(obj)
        seen = await self._controller.observe(
            Key("VideoModelTraining", "team", name), self._controller.parse(obj), cache
        )
        plan = decide(View(training, seen, self.settings, START + timedelta(seconds=self.ahead)))
        for effect in plan.effects:
            if type(effect).__name__ == "CloseAttempt":
                await self._controller.perform(
                    Key("VideoModelTraining", "team", name), self._controller.parse(obj), effect
                )
        if any(ref.kind == "Job" for ref in plan.delete):
            self.jobs.pop(name, None)
            self.pods[name] = []
        for wanted in plan.apply:
            if wanted.manifest["kind"] == "Job" and name not in self.jobs:
                self.make(name, dict(wanted.manifest))
        if plan.status is not None:
            obj["status"] = plan.status.to_wire()
            running = find_condition(VideoModelTraining.parse(obj).status.conditions, "Running")
            self.told[name].append(running.message if running else "")

    def make(self, name: str, job: dict[str, Any]) -> None:
        uid = f"job-{name}-{job['metadata']['labels']['kinema.dev/attempt']}"
        job["metadata"] = {**job["metadata"], "uid": uid, "resourceVersion": "1"}
        self.jobs[name] = job
        waits = {"type": "PodScheduled", "status": "False", "message": "0/4 nodes are available: Insufficient cpu."}
        self.pods[name] = [
            {
                "kind": "Pod",
                "metadata": {
                    "name": f"{job['metadata']['name']}-{index}", "namespace": job["metadata"]["namespace"],
                    "uid": f"{uid}-{index}", "resourceVersion": "1",
                    "labels": job["spec"]["template"]["metadata"]["labels"],
                    "ownerReferences": [{"kind": "Job", "uid": uid, "name": name, "controller": True}],
                },
                "status": {"phase": "Pending", "conditions": [waits]},
            }
            for index in range(job["spec"]["parallelism"])
        ]  # fmt: skip

    async def live(self, minutes: float, until: Any = lambda: False) -> None:
        end = self.ahead + minutes * 60
        while self.ahead < end and not until():
            for name in self.objects:
                await self.look(name)
            self.schedule()
            self.ahead += 15


@pytest.fixture
def cluster(settings: Settings, tmp_path: Path, monkeypatch: Any) -> Cluster:
    # Nobody answers for these trainers: what is judged here is whether they find a place.
    patient = {name: 1e6 for name in ("group_seconds",) if name in type(settings).model_fields}
    return Cluster(4, settings.model_copy(update=patient), tmp_path / "store", monkeypatch)


async def test_two_groups_that_hold_each_other_up_do_not_wait_for_ever(cluster: Cluster) -> None:
    cluster.add("old", 3)
    cluster.add("young", 3)
    await cluster.live(60, lambda: cluster.trains("old") or cluster.trains("young"))
    assert cluster.trains("old"), f"the older one gets through first: {cluster.told['old'][-1]}"
    assert any("2 of at least 3 trainers are running" in told and "young" in told for told in cluster.told["old"])
    assert any(
        "Insufficient cpu" in told and "pods of the others are deleted" in told for told in cluster.told["young"]
    )


async def test_a_group_that_never_fits_lets_smaller_ones_through(cluster: Cluster) -> None:
    cluster.add("old", 6)
    cluster.add("young", 2, namespace="other")
    cluster.add("younger", 2)
    await cluster.live(90, lambda: cluster.trains("young"))
    assert cluster.trains("young")
    assert not any("young waits" in told for told in cluster.told["old"]), "names of other namespaces are not told"


async def test_a_group_that_only_waits_for_one_more_node_keeps_its_pods_for_a_while(cluster: Cluster) -> None:
    cluster.room = 2
    cluster.add("old", 3)
    await cluster.live(4)
    assert cluster.placed("old") == 2
    cluster.room = 3
    await cluster.live(2, lambda: cluster.trains("old"))
    assert cluster.trains("old")
    status = VideoModelTraining.parse(cluster.objects["old"]).status
    assert (status.attempt, status.restarts) == (1, {})


def test_what_cannot_be_placed_costs_no_try(make_view: Any, now: datetime) -> None:
    from unit.operator.training.facts import NO_EXPORT, STORE, TRAINING, at_work, condition, status_of, trainer

    waits = trainer("b", now, phase="Pending", started=None, waiting="0/4 nodes are available")
    before = {**TRAINING, "restarts": {"placement": 40}}
    seen = at_work(now, pods=(STORE, trainer("a", now), waits), export=NO_EXPORT)
    seen = dataclasses.replace(seen, short_seconds=500.0)
    plan = decide(make_view(before, seen, elastic=None))
    assert condition(plan, "Running") == ("False", "NotPlaced")
    assert status_of(plan).restarts == {"placement": 41}
    assert status_of(plan).not_before == now + timedelta(seconds=300)
