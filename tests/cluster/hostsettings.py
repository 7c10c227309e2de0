"""Kernel settings of the machine that a kubelet changes for its own good; remembered, and put back at the end."""

from __future__ import annotations

import json
from pathlib import Path

KERNEL = Path("/proc/sys")
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
        path.write_text(json.dumps(values))


def restore_host_settings(state: Path) -> None:
    """Put back what differs now."""
    path = state / "host-settings.json"
    if not path.exists():
        return
    for name, value in json.loads(path.read_text()).items():
        if (KERNEL / name).read_text().strip() != value:
            (KERNEL / name).write_text(value)


def _exists(name: str) -> bool:
    return (KERNEL / name).exists()
