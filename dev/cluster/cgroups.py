"""Control groups of the nodes, in every hierarchy of version 1 and in version 2 alike.

The kubelet wants its root group to exist in all of them, and leaves them behind when it ends.
"""

from __future__ import annotations

import os
from pathlib import Path

from .progress import await_condition

ROOT = Path("/sys/fs/cgroup")
# A second cluster, in a network and mount namespace of its own, needs a group of its own.
GROUP = os.environ.get("KINEMA_CGROUP", "kinema")
REMOVAL_SECONDS = 10.0


def hierarchies() -> list[Path]:
    """Mount points of all control-group file systems."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] in ("cgroup", "cgroup2"):
            found.append(Path(before.split()[4]))
    return sorted(set(found))


def ensure_node(name: str) -> None:
    """Make the groups kinema/<name> in every hierarchy."""
    for hierarchy in hierarchies():
        parent = hierarchy
        for part in (GROUP, name):
            _delegate_controllers(parent)
            group = parent / part
            group.mkdir(exist_ok=True)
            _inherit_cpuset(parent, group)
            parent = group
        _delegate_controllers(parent)


def remove_all() -> None:
    """Remove the group of the cluster from every hierarchy. Its processes must be gone."""
    for hierarchy in hierarchies():
        await_condition(lambda top=hierarchy / GROUP: _remove_tree(top), REMOVAL_SECONDS)  # type: ignore[misc]


def leftovers() -> list[str]:
    """Groups of the cluster that still exist."""
    return [str(hierarchy / GROUP) for hierarchy in hierarchies() if (hierarchy / GROUP).exists()]


def _remove_tree(top: Path) -> bool:
    for folder, _, _ in os.walk(top, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            return False
    return not top.exists()


def _inherit_cpuset(parent: Path, group: Path) -> None:
    """A new cpuset of version 1 is empty, and no process can enter it until it is filled."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        own = group / name
        if own.exists() and not (group / "cgroup.controllers").exists() and not own.read_text().strip():
            own.write_text((parent / name).read_text())


def _delegate_controllers(group: Path) -> None:
    """Version 2 gives a child only the controllers its parent lists."""
    available = group / "cgroup.controllers"
    if not available.exists():
        return
    for controller in available.read_text().split():
        try:
            (group / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError:
            # Not every controller can be delegated everywhere; the kubelet names the one it misses.
            continue
