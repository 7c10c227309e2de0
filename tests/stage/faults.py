"""Faults as the measures define them: a worker is killed by SIGKILL of every process in its pod's cgroup.

Works on any cluster whose nodes share this machine's process table, by looking processes up by their cgroup.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path


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
    """Send a signal to every process of a pod; how many got it."""
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

    Repeats until none is left, since a fork may slip through between reading and killing.
    """
    killed = 0
    while count := signal_pod(pod_uid, signal.SIGKILL):
        killed += count
        if all(_is_zombie(pid) for pid in pod_processes(pod_uid)):
            break
    return killed


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True
