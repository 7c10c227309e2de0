"""The workload that faults are injected into, and the faults: which part each one affects, and for how long."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from chaos.witness import Witness
from kinema_api import names
from stage import beds, faults, install, kube, objects, runs

TRAINING = "suffers"
NODES = 3
STEPS = 1_000_000
WHOLE_SECONDS = 420.0
MODEL_SECONDS = 600.0
DELIVERED_SECONDS = 600.0
GONE_SECONDS = 240.0
WATCH_SECONDS = 0.2


@dataclass(frozen=True)
class Fault:
    """A fault, and how long it lasts."""

    bed: Callable[[Workload], AbstractContextManager[object]]
    seconds: float
    whole_within: float = 120.0
    """The group must step on all its nodes again within this time after the fault."""


class Workload:
    """A training that runs, a model that is served, and a generation for each row."""

    def __init__(self, namespace: str, chance: random.Random) -> None:
        self.namespace, self.chance = namespace, chance
        self._asked: list[str] = []
        self._stack = ExitStack()

    def __enter__(self) -> Workload:
        kube.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", seconds=300)
        kube.until(beds.all_ready, "every node Ready", 120)
        kube.restricted_namespace(self.namespace)
        made = objects.tiny_training("made", 40, nodes=1, publish={"model": "made"})
        steps_on = objects.tiny_training(TRAINING, STEPS, NODES, checkpoint={"everySteps": 20, "keep": 3})
        kube.apply([made, steps_on], self.namespace)
        kube.until(lambda: runs.ended("made", self.namespace) == "Succeeded", "a model", MODEL_SECONDS)
        kube.until(self.whole, "the group at work", WHOLE_SECONDS)
        self.witness = self._stack.enter_context(Witness(TRAINING, self.namespace))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        kube.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", "--wait=false", check=False)

    def whole(self) -> list[Any] | None:
        """The group, if all its nodes step in one round."""
        return runs.stepping(TRAINING, self.namespace, NODES)

    def inject(self, names_: tuple[str, ...]) -> str:
        """Inject one row of faults; returns a description of the outcome.

        Raises:
            StageError: a fault had no effect, or the group did not come back.
            AssertionError: the witness saw a violation.
        """
        kube.until(beds.all_ready, "every node Ready", 180)
        group = kube.until(self.whole, "the group at work before the fault", WHOLE_SECONDS)
        round_, step = max((p.round, p.step) for _, p in group)
        attempt = runs.training_status(TRAINING, self.namespace)["attempt"]
        self._ask()
        chosen = [FAULTS[name] for name in names_]
        with ExitStack() as held:
            for fault in chosen:
                held.enter_context(fault.bed(self))
            began = time.time()
            again = self._watch(max(fault.seconds for fault in chosen), round_)
        limit = sum(fault.whole_within for fault in chosen)

        def further() -> bool:
            now = self.whole()
            return bool(now) and max(p.step for _, p in now or []) > step

        kube.until(further, "the whole group stepping further", limit)
        violations = self.witness.violations()
        assert not violations, "; ".join(violations)
        now = runs.training_status(TRAINING, self.namespace)
        newest = max(p.round for _, p in self.whole() or group)
        rounds = f"{newest - round_} rounds" if now["attempt"] == attempt else f"attempt {now['attempt']}"
        rest, all_ = (f"after {at - began:.1f} s" if at else "once the fault was over" for at in again)
        return f"the rest stepped {rest}, all {NODES} {all_}; {rounds}"

    def _watch(self, seconds: float, round_: int) -> tuple[float | None, float | None]:
        """During a fault: when a later round first stepped, and when a later round of all nodes did."""
        rest: float | None = None
        everyone: float | None = None
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            seen = [p for pod in self.witness.pods.copy().values() if (p := pod.progress()) and p.round > round_]
            for progress in seen:
                at = runs.step_time(progress)
                rest = rest or at
                if progress.world_size == NODES:
                    everyone = everyone or at
            time.sleep(WATCH_SECONDS)
        return rest, everyone

    def trainer(self) -> dict[str, Any]:
        """The Pod object of a random trainer."""
        pods = {pod.name for pod in runs.trainer_pods(TRAINING, self.namespace)}
        return kube.get("pod", self.chance.choice(sorted(pods)), self.namespace) or {}

    def node(self) -> str:
        """A random node without the object store, with a trainer if there is such a node."""
        stores = {pod["spec"]["nodeName"] for pod in kube.items("pods", install.SYSTEM, "app.kubernetes.io/name=minio")}
        pods = kube.items("pods", self.namespace, f"{names.LABEL_COMPONENT}={names.COMPONENT_TRAINER}")
        nodes = (
            {pod["spec"].get("nodeName") for pod in pods if pod["status"].get("phase") == "Running"} - stores - {None}
        )
        others = {node["metadata"]["name"] for node in kube.items("nodes", "default")} - stores
        return str(self.chance.choice(sorted(nodes or others)))

    def rendezvous(self) -> str:
        """uid of the rendezvous pod."""
        return str(runs.rendezvous_pod(TRAINING, self.namespace)["metadata"]["uid"])

    def _ask(self) -> None:
        name = f"clip-{len(self._asked)}"
        self._asked.append(name)
        kube.apply(objects.short_clip(name, "made"), self.namespace)

    def conclude(self) -> str:
        """Wait until all generations are delivered; then delete everything and check that nothing is left.

        Raises:
            StageError: it did not happen in time.
            AssertionError: the witness saw a violation.
        """
        for name in self._asked:

            def delivered(name: str = name) -> bool:
                phase = (kube.get("vgen", name, self.namespace) or {}).get("status", {}).get("phase")
                assert phase != "Failed", runs.explain("vgen", name, self.namespace)
                return bool(phase == "Succeeded")

            kube.until(delivered, f"delivery of {name}", DELIVERED_SECONDS)
        violations = self.witness.violations()
        assert not violations, "; ".join(violations)
        uids = [pod["metadata"]["uid"] for pod in kube.items("pods", self.namespace)]
        for kind in ("vgen", "vmodel", "vmt"):
            kube.kubectl("delete", kind, "--all", "-n", self.namespace, "--timeout=60s")

        def nothing_left() -> bool:
            kinds = ("pods", "jobs", "services", "deployments", "networkpolicies", "secrets")
            objects = [obj for kind in kinds for obj in kube.items(kind, self.namespace)]
            return not objects and not any(faults.pod_processes(uid) for uid in uids)

        kube.until(nothing_left, "nothing left, neither objects nor processes", GONE_SECONDS)
        return f"{len(self._asked)} generations delivered, {len(self.witness.commits)} commits, nothing left"


# Faults


@contextmanager
def _killed(uid: str) -> Iterator[None]:
    assert faults.kill_pod(uid) > 0, "there was no process to kill"
    yield


def _worker(workload: Workload) -> AbstractContextManager[object]:
    return _killed(workload.trainer()["metadata"]["uid"])


def _rendezvous(workload: Workload) -> AbstractContextManager[object]:
    return _killed(workload.rendezvous())


def _operator(workload: Workload) -> AbstractContextManager[object]:
    lease = kube.get("lease", "kinema-operator", install.SYSTEM) or {}
    holder = lease["spec"]["holderIdentity"]
    pod = next(p for p in kube.items("pods", install.SYSTEM) if holder.startswith(p["metadata"]["name"]))
    return _killed(pod["metadata"]["uid"])


@contextmanager
def _forged(workload: Workload) -> Iterator[None]:
    beds.forge(TRAINING, workload.namespace)
    yield


FAULTS: dict[str, Fault] = {
    "worker killed": Fault(_worker, 5),
    "worker paused": Fault(lambda s: beds.paused(s.trainer()["metadata"]["uid"]), 20),
    "rendezvous killed": Fault(_rendezvous, 5),
    "two rendezvous": Fault(lambda s: beds.two_rendezvous(TRAINING, s.namespace), 30, 180),
    "operator killed": Fault(_operator, 5),
    "API server away": Fault(lambda s: beds.api_server_away(), 60, 180),
    "store silent": Fault(lambda s: beds.store_silent(), 30, 180),
    "store away": Fault(lambda s: beds.store_away(), 20, 180),
    "disk full": Fault(lambda s: beds.disk_full(s.trainer()["metadata"]["uid"]), 30, 240),
    "node without API server": Fault(lambda s: beds.cut_off_from_api(s.node()), 75, 180),
    "link down": Fault(lambda s: beds.link_down(s.node()), 100, 240),
    "power cut": Fault(lambda s: beds.power_cut(s.node()), 100, 240),
    "node drained": Fault(lambda s: beds.drained(s.node()), 5, 180),
    "forging tenant": Fault(_forged, 10, 180),
    "second operator": Fault(lambda s: beds.second_operator(s.namespace), 45, 180),
}
"""Faults by the name that is printed."""
