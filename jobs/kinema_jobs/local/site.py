"""The folders of a local run, and the scheduler that starts the processes of its AppDef.

What a local process has beyond the AppDef is listed here and nowhere else: RUNTIME_ENV of kinema_api.launch, which a
cluster's downward API sets as well; SCHEDULER_ENV, which TorchX adds; SCRATCH_ENV; ENV_THREADS; and what it inherits.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torchx.schedulers.local_scheduler import CWDImageProvider, LocalScheduler, Opts
from torchx.specs import AppDef, macros

from kinema_api import launch, names
from kinema_api.objectstore import ObjectStore, StoreLocation

LOOPBACK: Final = "127.0.0.1"
SCRATCH_ENV: Final = "KINEMA_TRAINER_SCRATCH"
SCHEDULER_ENV: Final = ("PATH", "TORCHX_RANK0_HOST", "TORCHELASTIC_ERROR_FILE", "PET_LOG_DIR")


@dataclass(frozen=True)
class Folders:
    """Files of a run in its working folder."""

    work: Path

    @property
    def logs(self) -> Path:
        return self.work / "logs"

    def progress(self, worker: int | str) -> Path:
        """The progress file of a worker; its index may be TorchX's macro."""
        return self.work / f"progress-{worker}.json"

    def termination_message(self, worker: int | str) -> Path:
        """The termination message of a worker."""
        return self.work / f"last-word-{worker}.json"

    def scratch(self, worker: int) -> Path:
        """Scratch folder of a worker."""
        return self.work / "scratch" / str(worker)


def local_site(
    folders: Folders, store: StoreLocation, credentials: Path | None, ca_file: Path | None = None
) -> launch.Site:
    """The settings of this machine for `launch`."""
    return launch.Site(
        rendezvous_host=LOOPBACK,
        rendezvous_port=free_port(),
        store_endpoint=store.endpoint,
        store_bucket=store.bucket,
        store_region=store.region,
        credentials_file=str(credentials or ""),
        progress_port=0,
        progress_file=str(folders.progress(macros.replica_id)),
        termination_log=str(folders.termination_message(macros.replica_id)),
        image="local",
        ca_file=str(ca_file or ""),
    )


def place(store: ObjectStore, key: str) -> str:
    """Location of a key for messages: a path if the store is a folder."""
    uri = store.uri(key)
    return uri.removeprefix("file://") if uri.startswith("file://") else uri


def free_port() -> int:
    """A free TCP port."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def threads_each(workers: int, environment: Mapping[str, str]) -> str:
    """Threads for each of so many workers on the cores of this process; what `environment` says stands.

    By default torch uses every core in every worker. Its threads spin while they wait, so more threads than cores are
    many times slower.
    """
    cores = len(os.sched_getaffinity(0))
    return environment.get(names.ENV_THREADS, str(max(1, cores // workers)))


class LocalRun:
    """The processes of one AppDef, by TorchX's local scheduler; `role` names those that do the work."""

    def __init__(self, app: AppDef, folders: Folders, role: str = launch.TRAINER_ROLE) -> None:
        self._role = role
        self._scheduler: Any = LocalScheduler(
            "kinema",
            image_provider_class=CWDImageProvider,
            extra_paths=[str(Path(sys.executable).parent)],  # the AppDef says python: this one
        )
        info = self._scheduler.submit_dryrun(app, Opts(log_dir=str(folders.logs)))
        workers = info.request.role_params[role]
        for worker, replica in enumerate(workers):
            folders.scratch(worker).mkdir(parents=True, exist_ok=True)
            replica.env |= {
                launch.ENV_POD_NAME: f"{app.name}-{worker}",
                launch.ENV_POD_IP: LOOPBACK,
                SCRATCH_ENV: str(folders.scratch(worker)),
                names.ENV_THREADS: threads_each(len(workers), os.environ),
            }
        app_id = self._scheduler.schedule(info)
        self._replicas = self._scheduler._apps[app_id].role_replicas

    def worker_pids(self) -> list[int]:
        """Process ids of the agents, by index."""
        return [replica.proc.pid for replica in self._replicas[self._role]]

    def store_pid(self) -> int:
        """Process id of the rendezvous service."""
        return int(self._replicas[launch.STORE_ROLE][0].proc.pid)

    def exit_codes(self) -> list[int | None]:
        """Exit codes of the agents by index; None while one runs."""
        return [replica.proc.poll() for replica in self._replicas[self._role]]

    def kill_worker(self, index: int) -> None:
        """SIGKILL every process of a worker, its agent included, as a node's death would."""
        os.killpg(self.worker_pids()[index], signal.SIGKILL)

    def close(self) -> None:
        """End all processes that still run."""
        self._scheduler.close()
