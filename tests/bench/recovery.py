"""make bench NAME=recovery: how soon a run steps again after a worker is killed.

A worker is killed by SIGKILL of every process in its pod's cgroup, agent included, on a uniformly random rank; the
clock runs to the end of the first optimizer step after it. minNodes is below nodes, so the survivors go on while the
replacement comes. Between two kills the group is whole again. Lost steps: optimizer steps done twice.

Environment: KINEMA_BENCH_KILLS (20), KINEMA_BENCH_KILLS_PER_RUN (3), KINEMA_BENCH_STEPS (700) of each
run, KINEMA_BENCH_SEED (0).
"""

from __future__ import annotations

import os
import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stage import faults, kube, runs
from stage.measure import machine, percentile, result

NAMESPACE = "kinema-bench-recovery"
NODES = 2
KILLS = int(os.environ.get("KINEMA_BENCH_KILLS", "20"))
KILLS_PER_RUN = int(os.environ.get("KINEMA_BENCH_KILLS_PER_RUN", "3"))
WHOLE_SECONDS = 420.0
RECOVERY_SECONDS = 120.0


def manifest(name: str) -> dict[str, Any]:
    """A run that outlasts its kills."""
    return {
        "apiVersion": "kinema.dev/v1alpha1",
        "kind": "VideoModelTraining",
        "metadata": {"name": name},
        "spec": {
            "model": {"preset": "tiny"},
            "data": {"world": {"seed": 7}},
            "optimization": {"steps": steps_per_run(), "batchTokens": 1024, "learningRate": 3e-3, "seed": 1},
            "nodes": NODES,
            "elastic": {"minNodes": 1, "maxNodes": NODES},
            "checkpoint": {"everySteps": 20, "keep": 3},
        },
    }


def steps_per_run() -> int:
    """Enough steps to outlast the kills of one run."""
    return int(os.environ.get("KINEMA_BENCH_STEPS", "700"))


def one_kill(name: str, chance: random.Random) -> tuple[float, int] | None:
    """(recovery seconds, lost steps) of one kill in a whole group; None if the run is over before there is one."""

    def whole_or_over() -> list[tuple[Any, Any]] | str | None:
        return runs.stepping(name, NAMESPACE, NODES) or runs.ended(name, NAMESPACE)

    group = kube.until(whole_or_over, f"{name} stepping on {NODES} nodes", WHOLE_SECONDS)
    if isinstance(group, str):
        return None
    by_rank = {progress.rank: pod for pod, progress in group}
    rank = chance.randrange(NODES)
    victim = by_rank[rank]
    survivors = [pod for pod, _ in group if pod != victim]
    before = max(p.step for pod in survivors if (p := pod.progress()))
    round_ = max(progress.round for _, progress in group)
    killed_at = time.time()
    processes = faults.kill_pod(victim.uid)
    stepped_at, progress = runs.first_step_after(survivors, round_, killed_at, RECOVERY_SECONDS)
    lost = max(0, before + 1 - progress.step)
    print(
        f"{name}: rank {rank} killed ({processes} processes), {stepped_at - killed_at:.2f} s, lost {lost}", flush=True
    )
    return stepped_at - killed_at, lost


def main() -> int:
    """Run until enough workers were killed, then print the figures."""
    chance = random.Random(int(os.environ.get("KINEMA_BENCH_SEED", "0")))
    kube.restricted_namespace(NAMESPACE)
    samples: list[float] = []
    lost: list[int] = []
    ends: list[str] = []
    while len(samples) < KILLS:
        name = f"recovery-{len(ends)}"
        kube.kubectl("delete", "vmt", name, "-n", NAMESPACE, "--ignore-not-found")
        kube.apply(manifest(name), NAMESPACE)
        for _ in range(min(KILLS_PER_RUN, KILLS - len(samples))):
            measured = one_kill(name, chance)
            if measured is None:
                break
            samples.append(measured[0])
            lost.append(measured[1])
        end = kube.until(partial(runs.ended, name, NAMESPACE), f"the end of {name}", 900)
        ends.append(end)
        print(f"{name}: {end}", flush=True)
    kube.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    result(
        "recovery",
        samples=len(samples),
        machine=machine(),
        recovery_p50_s=round(percentile(samples, 50), 2),
        recovery_p95_s=round(percentile(samples, 95), 2),
        recovery_max_s=round(max(samples), 2),
        lost_steps_max=max(lost),
        runs=len(ends),
        succeeded=all(end == "Succeeded" for end in ends),
    )
    return 0 if all(end == "Succeeded" for end in ends) else 1


if __name__ == "__main__":
    sys.exit(main())
