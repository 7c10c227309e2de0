"""What `status` tells: which parts run, and how much memory each takes with all its children."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .native import NativeCluster
from .process import descendants

KIB_PER_MIB = 1024


@dataclass(frozen=True)
class PartStatus:
    """One part of the cluster. `own_mib` is its daemons' memory, `pods_mib` that of the pods on a node."""

    name: str
    running: bool
    own_mib: int = 0
    pods_mib: int = 0


def part_statuses(cluster: NativeCluster) -> list[PartStatus]:
    """All parts, in the order in which they start."""
    return [_status(cluster, name) for name in cluster.components()]


def _status(cluster: NativeCluster, name: str) -> PartStatus:
    record = cluster.daemons.record(name)
    if record is None or not record.alive():
        return PartStatus(name, running=False)
    own = pods = 0
    for pid in [record.pid, *descendants(record.pid)]:
        if _in_pod(pid):
            pods += _proportional_kib(pid)
        else:
            own += _proportional_kib(pid)
    return PartStatus(name, True, own // KIB_PER_MIB, pods // KIB_PER_MIB)


def _in_pod(pid: int) -> bool:
    try:
        return "/kubepods" in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


def _proportional_kib(pid: int) -> int:
    """Memory of a process, shared pages divided among those who share them."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def print_status(cluster: NativeCluster) -> bool:
    """Print a table; return whether everything runs."""
    statuses = part_statuses(cluster)
    print(f"{'part':26}{'state':10}{'MiB':>6}{'pods MiB':>10}")
    for status in statuses:
        state = "running" if status.running else "down"
        print(f"{status.name:26}{state:10}{status.own_mib:6}{status.pods_mib or '':>10}")
    total, pods = sum(s.own_mib for s in statuses), sum(s.pods_mib for s in statuses)
    print(f"{'all':36}{total:6}{pods:>10}")
    return all(status.running for status in statuses)
