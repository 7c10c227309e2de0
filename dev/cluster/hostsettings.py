"""What a cluster changes on the machine itself, for its own good; written down first, put back at the end."""

from __future__ import annotations

import json
from pathlib import Path

from .command import run

KERNEL = Path("/proc/sys")
# `ip netns` makes this folder a mount of its own, and never takes that back.
NETWORK_NAMESPACES = Path("/run/netns")
NAMESPACES_WERE_MOUNTED = "network namespaces were mounted"
# What the kubelet writes when it is not told to protect the kernel's defaults.
CHANGED_BY_KUBELET = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


def remember_host_settings(state: Path) -> None:
    """Write the settings down once, before the first kubelet runs."""
    path = state / "host-settings.json"
    if not path.exists():
        values = {name: (KERNEL / name).read_text().strip() for name in CHANGED_BY_KUBELET if _exists(name)}
        values[NAMESPACES_WERE_MOUNTED] = str(NETWORK_NAMESPACES.is_mount())
        path.write_text(json.dumps(values))


def restore_host_settings(state: Path) -> None:
    """Put back what differs now."""
    path = state / "host-settings.json"
    if not path.exists():
        return
    values = json.loads(path.read_text())
    if values.pop(NAMESPACES_WERE_MOUNTED) == str(False):
        _unmount_namespaces()
    for name, value in values.items():
        if (KERNEL / name).read_text().strip() != value:
            (KERNEL / name).write_text(value)


def _unmount_namespaces() -> None:
    if NETWORK_NAMESPACES.is_mount() and not any(NETWORK_NAMESPACES.iterdir()):
        run(["umount", NETWORK_NAMESPACES])
        NETWORK_NAMESPACES.rmdir()


def _exists(name: str) -> bool:
    return (KERNEL / name).exists()
