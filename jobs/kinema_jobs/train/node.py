"""What a node has for the lifetime of its agent: fork server, scratch folder, lease, telemetry."""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.forkserver
import shutil
import tempfile
from pathlib import Path
from typing import Final

from kinema_api.errors import StorageError
from kinema_api.run import RunConfig
from kinema_api.wire import TerminationMessage
from kinema_jobs.train.assignment import Assignment
from kinema_jobs.train.failures import BadConfiguration, HardwareFailure, hardware_advice, is_broken_hardware
from kinema_jobs.train.lease import Lease
from kinema_jobs.train.progress import ProgressFile, write_progress
from kinema_jobs.train.settings import TrainerSettings
from kinema_jobs.train.telemetry import Telemetry, serve
from kinema_jobs.train.torch_logs import use_plain_format

PRELOADED: Final = ["kinema_jobs.train.fork_server", "kinema_jobs.train.worker"]
"""Imported once by the fork server, so that no round waits for imports."""

logger = logging.getLogger(__name__)


def run_node(config: RunConfig, settings: TrainerSettings) -> TerminationMessage | None:
    """Take part in a run until it is done (None) or this node has to end (its termination message).

    Raises:
        BadConfiguration: the environment makes no sense.
        HardwareFailure: the node's disk is full or broken, or it lacks GPUs that its pod was given.
    """
    _start_fork_server()
    blank = ProgressFile(
        run=config.run, attempt=config.attempt, total_steps=config.optimization.steps, port=settings.progress_port
    )
    telemetry = Telemetry(settings.progress_file, blank)
    try:
        server = serve(telemetry, settings.progress_port)
        settings.open_store()
        scratch = Path(tempfile.mkdtemp(prefix="kinema-", dir=settings.scratch))
    except (OSError, StorageError) as error:
        if is_broken_hardware(error):
            raise HardwareFailure(hardware_advice(error)) from None
        raise BadConfiguration(
            f"this node cannot start ({error}): check that port {settings.progress_port} is free and "
            f"{settings.scratch} can be written"
        ) from None
    blank = blank.model_copy(update={"port": server.server_port})
    write_progress(settings.progress_file, blank)
    try:
        return _attend(config, settings, telemetry, scratch, server.server_port)
    finally:
        server.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def workers(given: int | None, visible: int) -> int:
    """Worker processes of this node.

    Args:
        given: GPUs that its pod was given; None: not told.
        visible: GPUs that torch sees.

    Raises:
        HardwareFailure: fewer than the pod was given.
    """
    if given is None:
        return max(1, visible)
    if visible < given:
        raise HardwareFailure(
            f"the pod was given {given} GPUs and torch sees {visible}: check the node's driver and device plugin, and "
            "that the worker image has a torch for these GPUs (CUDA for nvidia.com/gpu, ROCm for amd.com/gpu)"
        )
    return given


def _start_fork_server() -> None:
    """Start the fork server, which imports the worker's modules while this process does its own imports."""
    multiprocessing.set_forkserver_preload(PRELOADED)
    multiprocessing.forkserver.ensure_running()


def _await_fork_server() -> None:
    """Wait until a worker can start at once: the arrival of a newcomer at the rendezvous stops the others."""
    first = multiprocessing.get_context("forkserver").Process(target=_nothing)
    first.start()
    first.join()


def _nothing() -> None:
    pass


def _attend(
    config: RunConfig, settings: TrainerSettings, telemetry: Telemetry, scratch: Path, port: int
) -> TerminationMessage | None:
    import torch

    from kinema_jobs.rendezvous.elastic import KinemaRendezvous
    from kinema_jobs.rendezvous.membership import Membership
    from kinema_jobs.train.agent import TrainingAgent

    use_plain_format()
    lease = Lease(scratch / "lease", create=True)
    slots = workers(settings.devices, torch.cuda.device_count())
    membership = Membership(settings.rendezvous, config.rendezvous_id, settings.pod_name, on_lease=lease.grant)
    telemetry.rendezvous_silent = membership.silent_seconds
    telemetry.rendezvous_lease = membership.lease_seconds
    rendezvous = KinemaRendezvous(membership, settings.pod_ip, slots, lambda: agent.asked_to_leave())

    def assign(handler: KinemaRendezvous) -> Assignment:
        assert handler.place is not None
        word = scratch / "last-word.json"
        return Assignment(config, settings, handler.place, lease.path, scratch, word, port)

    agent = TrainingAgent(rendezvous, assign, slots, lease, settings, telemetry)
    agent.take_signals()
    _await_fork_server()
    try:
        agent.run()
    finally:
        membership.leave()
    return None if agent.done else agent.word
