"""The wires: a bridge on the machine, a network namespace for each node, routes between pod subnets.

The machine itself is 10.10.0.1 on that bridge; node i is 10.10.0.(10+i) and holds the pods of 10.244.i.0/24.
Nothing is forwarded or masqueraded to the outside, so pods reach each other and the machine, nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path

from .command import run, succeeds

BRIDGE = "kinema0"
HOST_ADDRESS = "10.10.0.1"
NODE_RANGE = "10.10.0.0/24"
POD_RANGE = "10.244.0.0/16"
PREFIX = "kinema-"
NAMESPACES = Path("/run/netns")
# With a firewall that drops forwarded packets, the kernel would drop those between two ports of the bridge.
BRIDGE_RULE = ("FORWARD", "-i", BRIDGE, "-o", BRIDGE, "-m", "comment", "--comment", "kinema-cluster", "-j")


def node_address(index: int) -> str:
    """Address of node `index` (from 1) on the bridge."""
    return f"10.10.0.{10 + index}"


def pod_range(index: int) -> str:
    """Subnet of the pods on node `index`."""
    return f"10.244.{index}.0/24"


def namespace(index: int) -> str:
    """Name of the network namespace of node `index`."""
    return f"{PREFIX}node{index}"


def in_namespace(index: int) -> list[str]:
    """Prefix of a command that shall run in that network namespace.

    Not `ip netns exec`: it mounts a fresh /sys, which hides the control groups from a kubelet.
    """
    return ["nsenter", f"--net={NAMESPACES / namespace(index)}", "--"]


def ensure_bridge() -> None:
    """Make the machine's bridge."""
    if not succeeds(["ip", "link", "show", BRIDGE]):
        run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    addresses = json.loads(run(["ip", "-json", "address", "show", "dev", BRIDGE]))
    if HOST_ADDRESS not in {info["local"] for info in addresses[0]["addr_info"]}:
        run(["ip", "address", "add", f"{HOST_ADDRESS}/24", "dev", BRIDGE])
    run(["ip", "link", "set", BRIDGE, "up"])
    succeeds(["modprobe", "--quiet", "br_netfilter"])
    if not succeeds(["iptables", "--wait", "-C", *BRIDGE_RULE, "ACCEPT"]):
        run(["iptables", "--wait", "-I", *BRIDGE_RULE, "ACCEPT"])


def ensure_node(index: int, nodes: int) -> None:
    """Make the namespace of node `index` among `nodes` and connect it; a second call changes nothing."""
    name, port = namespace(index), f"{PREFIX}n{index}"
    if not (NAMESPACES / name).exists():
        run(["ip", "netns", "add", name])
    inside = ["ip", "-n", name]
    if not succeeds([*inside, "link", "show", "eth0"]):
        run(["ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name])
        run([*inside, "address", "add", f"{node_address(index)}/24", "dev", "eth0"])
    run(["ip", "link", "set", port, "master", BRIDGE, "up"])
    for device in ("lo", "eth0"):
        run([*inside, "link", "set", device, "up"])
    run([*inside, "route", "replace", "default", "via", HOST_ADDRESS])
    for other in range(1, nodes + 1):
        if other != index:
            run([*inside, "route", "replace", pod_range(other), "via", node_address(other)])
    run(["ip", "route", "replace", pod_range(index), "via", node_address(index), "dev", BRIDGE])
    # Without the bridge's call into iptables, a pod reaches no Service whose backend is on its own node,
    # and no policy holds between two pods of one node. The setting belongs to the namespace.
    settings = ["net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1"]
    run([*in_namespace(index), "sysctl", "-qw", *settings])


def remove(indices: list[int]) -> None:
    """Take everything away again that the functions above made; routes go with the bridge."""
    for index in indices:
        if succeeds(["ip", "link", "show", f"{PREFIX}n{index}"]):
            run(["ip", "link", "delete", f"{PREFIX}n{index}"])
        if (NAMESPACES / namespace(index)).exists():
            run(["ip", "netns", "delete", namespace(index)])
    if succeeds(["ip", "link", "show", BRIDGE]):
        run(["ip", "link", "delete", BRIDGE])
    while succeeds(["iptables", "--wait", "-C", *BRIDGE_RULE, "ACCEPT"]):
        run(["iptables", "--wait", "-D", *BRIDGE_RULE, "ACCEPT"])
