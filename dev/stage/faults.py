"""Faults of processes: a worker is killed by SIGKILL of every process in its pod's cgroup.

Works on any cluster whose nodes share this machine's process table: processes are found by their cgroup.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster.settings import Settings


def pod_processes(pod_uid: str) -> list[int]:
    """Process ids of a pod: every process whose cgroup path names the pod's UID (as cgroupfs or systemd spell it)."""
    spellings = (f"pod{pod_uid}", f"pod{pod_uid.replace('-', '_')}")
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            cgroup = (entry / "cgroup").read_text()
        except OSError:
            continue
        if any(spelling in cgroup for spelling in spellings):
            found.append(int(entry.name))
    return found


def signal_pod(pod_uid: str, number: signal.Signals) -> int:
    """Send a signal to every process of a pod; returns how many got it."""
    sent = 0
    for pid in pod_processes(pod_uid):
        try:
            os.kill(pid, number)
            sent += 1
        except ProcessLookupError:
            continue
    return sent


def kill_pod(pod_uid: str) -> int:
    """SIGKILL every process of a pod, its agent and sandbox included; how many there were.

    Repeats until none is left, since a process may fork between listing and killing.
    """
    killed: set[int] = set()
    while left := [pid for pid in pod_processes(pod_uid) if not _is_zombie(pid)]:
        killed.update(left)
        signal_pod(pod_uid, signal.SIGKILL)
    return len(killed)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True


@contextmanager
def paused(pod_uid: str, seconds: float) -> Iterator[None]:
    """Stop every process of a pod for a while: it neither answers nor closes its connections."""
    with _held(pod_processes(pod_uid), seconds):
        yield


@contextmanager
def api_server_away(seconds: float) -> Iterator[None]:
    """Stop the development cluster's API server for a while."""
    with _held(cluster_processes("kube-apiserver"), seconds):
        yield


def cluster_processes(program: str) -> list[int]:
    """Processes of the development cluster whose program file starts with this name.

    Integration tests run the same programs; those of the cluster have its state folder in their arguments.
    """
    state = str(Settings.from_environment().state)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                program_file, *arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if Path(program_file).name.startswith(program) and any(f"{state}/" in word for word in arguments):
                found.append(int(entry.name))
    return found


@contextmanager
def _held(pids: list[int], seconds: float) -> Iterator[None]:
    if not pids:
        raise ProcessLookupError("there is no process to hold; is this the development cluster of this machine?")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
        # The duration of the outage is part of the test, so there is no condition to wait for.
        time.sleep(seconds)
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
