"""Takes the native cluster away: processes, wires, control groups, kernel settings, files; finds leftovers.

A node is ended by killing its first process: the kernel then ends all its processes and drops all its mounts.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from . import cgroups, network
from .command import run, succeeds
from .errors import ClusterError
from .hostsettings import restore_host_settings
from .node import OWN_FOLDERS
from .process import Daemons, all_pids, descendants, start_ticks
from .progress import await_condition, part
from .settings import Settings

# Those that follow the cluster end before what they follow.
ORDER = ("prometheus", "agent", "node", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")
NODE_EXIT_SECONDS = 30.0


def take_down(settings: Settings) -> None:
    """End the cluster and leave nothing of it; binaries stay in the cache. Works on half a cluster, too.

    Raises:
        ClusterError: something is left; lists it.
    """
    daemons = Daemons(settings.state)
    with part("processes"):
        for kind in ORDER:
            for name in [name for name in daemons.names() if name.startswith(kind)]:
                _stop(daemons, name)
    with part("network, control groups, kernel settings"):
        network.remove(_node_indices())
        cgroups.remove_all()
        restore_host_settings(settings.state)
    with part("files"):
        shutil.rmtree(settings.state, ignore_errors=True)
        _remove_empty_folders()
    remains = leftovers(settings)
    if remains:
        raise ClusterError("Left behind: " + "; ".join(remains) + ". End these by hand, then run `down` again.")


def leftovers(settings: Settings) -> list[str]:
    """Everything of a cluster that this machine still shows; empty after a clean `down`."""
    found = [f"process {pid}: {command}" for pid, command in _processes(settings)]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found += [f"mount {line.split()[1]}" for line in mounts if str(settings.state) in line]
    found += [f"control group {group}" for group in cgroups.leftovers()]
    found += [f"network namespace {network.namespace(index)}" for index in _node_indices()]
    links = [line.split(":")[1].strip() for line in run(["ip", "-oneline", "link"]).splitlines()]
    found += [f"interface {name}" for name in links if name.startswith((network.PREFIX, network.BRIDGE))]
    routes = run(["ip", "route"]).splitlines()
    found += [f"route {route}" for route in routes if network.BRIDGE in route]
    if shutil.which("iptables") and succeeds(["iptables", "--wait", "-C", *network.BRIDGE_RULE, "ACCEPT"]):
        found.append(f"iptables rule {' '.join(network.BRIDGE_RULE)}")
    if settings.state.exists():
        found.append(f"folder {settings.state}")
    return found


def _stop(daemons: Daemons, name: str) -> None:
    record = daemons.record(name)
    is_node = name.startswith("node")
    before = descendants(record.pid) if is_node and record and record.alive() else {}
    daemons.stop(name, **({"grace_seconds": 0.0} if is_node else {}))
    # The processes of a node end after their first one; control groups can go only when all have.
    await_condition(lambda: not any(start_ticks(p) == t for p, t in before.items()), NODE_EXIT_SECONDS)


def _processes(settings: Settings) -> list[tuple[int, str]]:
    """Processes of the cluster: they run its programs on its folder, or see the mounts of a node."""
    found = []
    for pid in all_pids():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            in_node = str(settings.state) in Path(f"/proc/{pid}/mountinfo").read_text()
        except OSError:
            continue
        ours = words[0].startswith(str(settings.binaries)) or Path(words[0]).name == "prometheus"
        if in_node or ((ours or "agent" in words) and any(str(settings.state) in word for word in words)):
            found.append((pid, " ".join(words)[:120]))
    return found


def _node_indices() -> list[int]:
    prefix = f"{network.PREFIX}node"
    names = [path.name for path in network.NAMESPACES.glob(f"{prefix}*")]
    return sorted(int(name.removeprefix(prefix)) for name in names)


def _remove_empty_folders() -> None:
    """Mount points made for the nodes; what the machine has in such a folder of its own stays."""
    for folder in OWN_FOLDERS:
        path = Path(folder)
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
