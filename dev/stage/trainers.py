"""Starts, kills and stops the processes of a training one by one, with the argv and env of its AppDef."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchx.specs import macros

from cluster.ports import free_port
from kinema_api import launch
from kinema_api.objectstore import ObjectStore, StoreLocation
from kinema_api.objectstores import open_store
from kinema_api.run import RunConfig
from kinema_api.training import VideoModelTraining
from kinema_api.wire import TerminationMessage
from kinema_jobs.local.site import LOOPBACK, SCRATCH_ENV, Folders, local_site
from kinema_jobs.train.progress import ProgressFile, read_progress
from kinema_model.config import PRESETS

PATIENCE = 240.0
"""Far above any wait here, so that no test fails on a loaded machine."""


CLIPS = 3
"""Clips of a global batch: odd, so that two nodes have uneven shares."""


def tiny_training(steps: int, nodes: int = 2, **changes: Any) -> VideoModelTraining:
    """A training whose step is a few milliseconds."""
    spec: dict[str, Any] = {
        "model": {"preset": "tiny", "overrides": {"width": 24, "depth": 1, "heads": 2}},
        "data": {"world": {"seed": 7}},
        "optimization": {
            "steps": steps,
            "batchTokens": CLIPS * PRESETS["tiny"].tokens_per_clip,
            "learningRate": 0.003,
            "seed": 1,
        },
        "nodes": nodes,
        "elastic": {"minNodes": 1, "maxNodes": 3},
        "checkpoint": {"everySteps": 10},
        **changes,
    }
    return VideoModelTraining.parse({"metadata": {"name": "trial", "uid": "u"}, "spec": spec})


class Trainers:
    """The processes of one attempt of one training."""

    def __init__(
        self, work: Path, training: VideoModelTraining, resume_from: str | None = None, **environment: str
    ) -> None:
        self.folders = Folders(work)
        location = StoreLocation(endpoint=f"file://{work}/store", bucket="kinema")
        (work / "store/kinema").mkdir(parents=True, exist_ok=True)
        self.config: RunConfig = launch.run_config(training, 1, 1, resume_from)
        self.store: ObjectStore = open_store(location, None)
        # The port is kept while the service is dead.
        site = replace(local_site(self.folders, location, None), rendezvous_port=free_port())
        self._app = launch.training_app(training, self.config, site)
        self._environment = environment
        self._agents: dict[int, subprocess.Popen[bytes]] = {}
        self._service: subprocess.Popen[bytes] | None = None

    def start_service(self) -> None:
        """The rendezvous."""
        self._service = self._start(self._app.roles[0], "rendezvous", {})

    def kill_service(self) -> None:
        """SIGKILL the rendezvous service, like the death of its pod."""
        assert self._service
        self._service.kill()
        self._service.wait()

    def start(self, *indices: int) -> None:
        """Agents."""
        for index in indices:
            self.folders.scratch(index).mkdir(parents=True, exist_ok=True)
            self.folders.progress(index).unlink(missing_ok=True)  # a new pod's files are its own
            own = {
                launch.ENV_POD_NAME: f"agent-{index}",
                launch.ENV_POD_IP: LOOPBACK,
                SCRATCH_ENV: str(self.folders.scratch(index)),
            }
            self._agents[index] = self._start(self._app.roles[1], str(index), own)

    def start_missing(self, *indices: int) -> None:
        """Start the agents that do not run, and the service."""
        if self._service is None or self._service.poll() is not None:
            self.start_service()
        self.start(*(i for i in indices if i not in self._agents or self._agents[i].poll() is not None))

    def _start(self, role: Any, name: str, own: dict[str, str]) -> subprocess.Popen[bytes]:
        role = macros.Values(img_root="", app_id="", replica_id=name, rank0_env="").apply(role)
        log = (self.folders.work / f"{name}.log").open("ab")
        return subprocess.Popen(
            [sys.executable, *role.args],
            env={**os.environ, "OMP_NUM_THREADS": "1", **self._environment, **role.env, **own},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def signal(self, index: int, number: signal.Signals) -> None:
        """Send a signal to every process of a node."""
        os.killpg(self._agents[index].pid, number)

    def kill(self, index: int) -> None:
        """SIGKILL every process of a node."""
        self.signal(index, signal.SIGKILL)
        self._agents[index].wait()

    def progress(self, index: int) -> ProgressFile:
        """The progress that a node last wrote."""
        return read_progress(self.folders.progress(index)) or ProgressFile(run=0, attempt=0)

    def termination_message(self, index: int) -> TerminationMessage:
        """The termination message of a node."""
        return TerminationMessage.model_validate_json(self.folders.termination_message(index).read_bytes())

    def log(self, name: int | str) -> str:
        """The output of a process."""
        return (self.folders.work / f"{name}.log").read_text()

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition; fails with the last lines of all logs."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                logs = "\n".join(f"--- {p.name}\n{p.read_text()[-2000:]}" for p in self.folders.work.glob("*.log"))
                raise AssertionError(f"waited {PATIENCE:g} s for {what}\n{logs}")
            time.sleep(0.02)

    def until_steps(self, index: int, world_size: int, steps: int = 3) -> ProgressFile:
        """Wait until a node has stepped in a group of that size."""

        def stepping() -> bool:
            now = self.progress(index)
            return now.world_size == world_size and now.steps_this_round >= steps

        self.until(stepping, f"{steps} steps of node {index} in a group of {world_size}")
        return self.progress(index)

    def exit_code(self, index: int) -> int:
        """Wait for a node's end."""
        self.until(lambda: self._agents[index].poll() is not None, f"the end of node {index}")
        return int(self._agents[index].returncode)

    def close(self) -> None:
        """Kill what is left."""
        self.kill_all()

    def kill_all(self) -> None:
        """Every agent and the service, at once."""
        for agent in self._agents.values():
            if agent.poll() is None:
                os.killpg(agent.pid, signal.SIGKILL)
                agent.wait()
        if self._service and self._service.poll() is None:
            self.kill_service()
