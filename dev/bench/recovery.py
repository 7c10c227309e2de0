"""make bench NAME=recovery: how soon a run steps again after a worker is killed, and after a node is lost.

A worker of three is killed by SIGKILL of every process in its pod's cgroup, agent included, on a uniformly random rank,
at a uniformly random time within `everySteps` steps, from `everySteps` steps after its round began. The clock runs
to the end of the first optimizer step after it. minNodes is below nodes, so the survivors go on while the
replacement comes. Between two kills all nodes take part again. Lost steps, those done twice, are counted from a log of
all observed steps. The loss of a node (link down, power cut), which may be that of the rendezvous, is
measured to the first step of a group of all nodes.

Environment: KINEMA_BENCH_KILLS (20), KINEMA_BENCH_KILLS_PER_RUN (5), KINEMA_BENCH_NODE_LOSSES (4), KINEMA_BENCH_STEPS
(700) of each run, KINEMA_BENCH_SEED (0).
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections import defaultdict
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stage import beds, faults, install, kube, objects, runs
from stage.measure import machine, percentile, result

NAMESPACE = "kinema-bench-recovery"
NODES = 3
EVERY_STEPS = 20
CHECKPOINT = {"everySteps": EVERY_STEPS, "keep": 3}
KILLS = int(os.environ.get("KINEMA_BENCH_KILLS", "20"))
KILLS_PER_RUN = int(os.environ.get("KINEMA_BENCH_KILLS_PER_RUN", "5"))
NODE_LOSSES = int(os.environ.get("KINEMA_BENCH_NODE_LOSSES", "4"))
STEPS = int(os.environ.get("KINEMA_BENCH_STEPS", "700"))
WHOLE_SECONDS = 420.0
RECOVERY_SECONDS = 120.0
NODE_LOSS_SECONDS = 240.0
LOG_SECONDS = 0.03


class StepLog:
    """Logs every observed step by round, from threads that poll the trainers."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.steps: dict[int, dict[int, float]] = defaultdict(dict)
        """When a step ended, by round and step."""
        self.whole: set[int] = set()
        """Rounds of all nodes."""
        self._pods: dict[str, runs.TrainerPod] = {}
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._find)]

    def __enter__(self) -> StepLog:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _find(self) -> None:
        while not self._over.wait(1.0):
            with suppress(kube.StageError):
                self._pods |= {pod.uid: pod for pod in runs.trainer_pods(self._name, NAMESPACE)}

    def _read(self) -> None:
        while not self._over.wait(LOG_SECONDS):
            for uid, pod in list(self._pods.items()):
                progress = pod.progress()
                if progress is None:
                    self._pods.pop(uid, None)
                    continue
                at = runs.step_time(progress)
                if at is not None and progress.world_size:
                    self.steps[progress.round].setdefault(progress.step, at)
                    if progress.world_size == NODES:
                        self.whole.add(progress.round)

    @property
    def round(self) -> int:
        """The newest round that has stepped."""
        return max(self.steps, default=0)

    def first_after(self, round_: int, since: float, *, whole: bool = False) -> tuple[int, float] | None:
        """(round, time) of the first step of a later round; with `whole`, of one with all nodes."""
        later = (
            (min(ends.values()), number)
            for number, ends in list(self.steps.items())
            if number > round_ and (number in self.whole or not whole)
        )
        return next(((number, at) for at, number in sorted(later) if at > since), None)

    def lost(self, before: int, after: int) -> int:
        """Steps that round `after` did again."""
        return max(0, max(self.steps[before]) + 1 - min(self.steps[after]))


def ready_to_kill(log: StepLog, name: str, chance: random.Random) -> list[Any] | None:
    """The group, whole and at a random point beyond `everySteps` steps of its round; None if the run is over."""

    def old_enough() -> list[Any] | str | None:
        group = runs.stepping(name, NAMESPACE, NODES)
        if not group:
            return runs.ended(name, NAMESPACE)
        ends = log.steps.get(max(p.round for _, p in group), {})
        return group if len(ends) and max(ends) - min(ends) >= EVERY_STEPS else None

    group = kube.until(old_enough, f"{name} stepping on {NODES} nodes", WHOLE_SECONDS)
    if not isinstance(group, list):
        return None
    beds.hold(chance.uniform(0, EVERY_STEPS * (group[0][1].step_seconds or 0.1)))
    return group


def one_kill(log: StepLog, name: str, chance: random.Random) -> tuple[float, int] | None:
    """(recovery seconds, lost steps) of one kill in a whole group; None if the run is over before there is one."""
    group = ready_to_kill(log, name, chance)
    if group is None:
        return None
    rank = chance.randrange(NODES)
    victim = next((pod for pod, progress in group if progress.rank == rank), group[0][0])
    round_, killed_at = log.round, time.time()
    processes = faults.kill_pod(victim.uid)
    after, at = kube.until(lambda: log.first_after(round_, killed_at), "a step after the kill", RECOVERY_SECONDS, 0.05)
    lost = log.lost(round_, after)
    print(f"{name}: rank {rank} killed ({processes} processes), {at - killed_at:.2f} s, lost {lost}", flush=True)
    return at - killed_at, lost


def one_node_loss(log: StepLog, name: str, number: int, chance: random.Random) -> tuple[float, float] | None:
    """Seconds from the loss of a node until the rest stepped, and until a whole group did; None if the run is over."""
    group = ready_to_kill(log, name, chance)
    if group is None:
        return None
    stores = {pod["spec"]["nodeName"] for pod in kube.items("pods", install.SYSTEM, "app.kubernetes.io/name=minio")}
    places = {(kube.get("pod", pod.name, NAMESPACE) or {})["spec"]["nodeName"] for pod, _ in group}
    node = chance.choice(sorted(places - stores))
    bed = (beds.link_down, beds.power_cut)[number % 2]
    round_, lost_at = log.round, time.time()
    with bed(node):
        _, rest = kube.until(lambda: log.first_after(round_, lost_at), "the rest stepping", NODE_LOSS_SECONDS, 0.1)
        _, whole = kube.until(
            lambda: log.first_after(round_, lost_at, whole=True), "a whole group", NODE_LOSS_SECONDS, 0.1
        )
    kube.until(beds.all_ready, "every node Ready", NODE_LOSS_SECONDS)
    print(f"{name}: {bed.__name__} {node}, rest {rest - lost_at:.1f} s, whole {whole - lost_at:.1f} s", flush=True)
    return rest - lost_at, whole - lost_at


def main() -> int:
    """Run until enough workers were killed and nodes lost, then print the figures."""
    chance = random.Random(int(os.environ.get("KINEMA_BENCH_SEED", "0")))
    install.install()
    kube.restricted_namespace(NAMESPACE)
    samples: list[tuple[float, int]] = []
    losses: list[tuple[float, float]] = []
    ends: list[str] = []
    while len(samples) < KILLS or len(losses) < NODE_LOSSES:
        name = f"recovery-{len(ends)}"
        kube.kubectl("delete", "vmt", name, "-n", NAMESPACE, "--ignore-not-found")
        kube.apply(objects.tiny_training(name, STEPS, NODES, 3e-4, checkpoint=CHECKPOINT), NAMESPACE)
        with StepLog(name) as log:
            kills = (one_kill(log, name, chance) for _ in range(min(KILLS_PER_RUN, KILLS - len(samples))))
            samples.extend(measured for measured in kills if measured)
            while len(samples) == KILLS and len(losses) < NODE_LOSSES:
                if (lost := one_node_loss(log, name, len(losses), chance)) is None:
                    break
                losses.append(lost)
        end = kube.until(partial(runs.ended, name, NAMESPACE), f"the end of {name}", 3600)
        ends.append(end)
        print(f"{name}: {end}", flush=True)
    kube.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    times, steps = [s for s, _ in samples], [lost for _, lost in samples]
    result(
        "recovery",
        samples=len(samples),
        machine=machine(),
        recovery_p50_s=round(percentile(times, 50), 2),
        recovery_p95_s=round(percentile(times, 95), 2),
        recovery_max_s=round(max(times), 2),
        lost_steps=steps,
        lost_steps_max=max(steps),
        node_loss_samples=len(losses),
        node_loss_rest_max_s=round(max(rest for rest, _ in losses), 1) if losses else None,
        node_loss_p95_s=round(percentile([whole for _, whole in losses], 95), 1) if losses else None,
        runs=len(ends),
        succeeded=all(end == "Succeeded" for end in ends),
    )
    return 0 if all(end == "Succeeded" for end in ends) else 1


if __name__ == "__main__":
    sys.exit(main())
