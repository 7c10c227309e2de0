"""A node: containerd, kubelet and kube-proxy in namespaces of their own.

Network, mount and process-id namespace are the node's. Control groups are the machine's, below kinema/<node>.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import cgroups, network
from .errors import ClusterError
from .process import Daemons, children
from .settings import Settings

DNS_ADDRESS = "10.96.0.10"
CNI_PLUGINS = "/usr/lib/cni"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
PAUSE_IMAGE = "localhost/kinema/pause:1"
HOST_PYTHON_HANDLER = "kinema-host-python"
# Folders that these daemons insist on, whatever they are told; on the machine they stay as they were.
OWN_FOLDERS = (
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
)


class Node:
    """Node `index` (from 1) of the cluster."""

    def __init__(self, settings: Settings, index: int) -> None:
        self.settings = settings
        self.index = index
        self.name = f"node{index}"
        self.folder = settings.state / "nodes" / self.name
        self.daemons = Daemons(settings.state)

    def start(self, kubelet: Path, proxy: Path, kubeconfigs: dict[str, Path]) -> bool:
        """Start the node unless it runs; return whether it was started.

        Args:
            kubelet: program of that name.
            proxy: the program kube-proxy.
            kubeconfigs: one for each of "kubelet" and "kube-proxy".
        """
        network.ensure_node(self.index, self.settings.nodes)
        if self.daemons.running(self.name):
            return False
        cgroups.ensure_node(self.name)
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        self._write_configuration(kubeconfigs)
        self._write_init(kubelet, proxy, kubeconfigs["kubelet"])
        isolate: list[str | Path] = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
        ]
        init: list[str | Path] = [
            sys.executable,
            Path(__file__).with_name("node_init.py"),
            self.folder / "init.json",
        ]
        return self.daemons.start(self.name, [*network.in_namespace(self.index), *isolate, *init])

    def stop(self) -> bool:
        """Switch the node off as a power cut would; its disk and its wires stay."""
        return self.daemons.stop(self.name, grace_seconds=0)

    def init_pid(self) -> int:
        """Process id, as the machine sees it, of the node's first process.

        Raises:
            ClusterError: the node is down.
        """
        record = self.daemons.record(self.name)
        inner = children(record.pid) if record and record.alive() else []
        if not inner:
            raise ClusterError(f"{self.name} is down; start it with `python dev/cluster start {self.name}`.")
        return inner[0]

    def ctr(self, *arguments: str, stdin: Path | None = None) -> str:
        """Run containerd's client on this node, among the images and containers of Kubernetes.

        Raises:
            ClusterError: it failed.
        """
        enter = ["nsenter", f"--target={self.init_pid()}", "--mount", "--"]
        command = [*enter, "ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", *arguments]
        with open(stdin or "/dev/null", "rb") as source:
            result = subprocess.run(command, stdin=source, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise ClusterError(f"{self.name}: ctr {' '.join(arguments)} failed: {result.stderr.strip()}")
        return result.stdout

    def restart_containerd(self) -> None:
        """Let containerd read its configuration anew; init restarts it, containers keep running."""
        for pid in children(self.init_pid()):
            if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(b"/containerd"):
                os.kill(pid, signal.SIGTERM)

    def containerd_answers(self) -> bool:
        """Whether the node's containerd takes requests."""
        try:
            self.ctr("version")
        except ClusterError:
            return False
        return True

    def _write_configuration(self, kubeconfigs: dict[str, Path]) -> None:
        authority = self.settings.state / "pki" / "ca.crt"
        files: dict[str, Any] = {
            "kubelet.json": kubelet_configuration(self.name, authority),
            "kube-proxy.json": proxy_configuration(self.name, kubeconfigs["kube-proxy"]),
            "cni/10-kinema.conflist": cni_configuration(self.index),
        }
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=1))
        toml = containerd_configuration(self.folder, self.settings.state / "host-python.json")
        (self.folder / "containerd.toml").write_text(toml)

    def _write_init(self, kubelet: Path, proxy: Path, kubeconfig: Path) -> None:
        def daemon(name: str, argv: list[object], after: str = "") -> dict[str, Any]:
            log = str(self.folder / "logs" / f"{name}.log")
            return {"name": name, "argv": [str(word) for word in argv], "log": log, "after": after}

        address = network.node_address(self.index)
        kubelet_flags = [
            f"--config={self.folder / 'kubelet.json'}",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={self.name}",
            f"--node-ip={address}",
            f"--cert-dir={self.folder / 'kubelet-pki'}",
        ]
        containerd = shutil.which("containerd") or "containerd"
        description = {
            "bind": {target: str(self.folder / "disk" / target.strip("/")) for target in OWN_FOLDERS},
            "daemons": [
                daemon("containerd", [containerd, "--config", self.folder / "containerd.toml"]),
                daemon("kubelet", [kubelet, *kubelet_flags], after=CONTAINERD_SOCKET),
                daemon("kube-proxy", [proxy, f"--config={self.folder / 'kube-proxy.json'}"]),
            ],
        }
        (self.folder / "init.json").write_text(json.dumps(description, indent=1))


def kubelet_configuration(name: str, authority: Path) -> dict[str, Any]:
    """KubeletConfiguration of node `name`; timings are Kubernetes' defaults."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroups.GROUP}/{name}",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "failSwapOn": False,
        "failCgroupV1": False,
        "enforceNodeAllocatable": [],
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        # The nodes share the machine's disk: neither its filling up nor its images are theirs to clean.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    }


def proxy_configuration(name: str, kubeconfig: Path) -> dict[str, Any]:
    """KubeProxyConfiguration of node `name`."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": network.POD_RANGE,
        "hostnameOverride": name,
        # The size of the connection table is the machine's own matter.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }


def cni_configuration(index: int) -> dict[str, Any]:
    """Pods hang on a bridge of the node; addresses in use are kept in /run, which a restart empties."""
    addresses = {
        "type": "host-local",
        "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": network.pod_range(index)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": addresses}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "kinema", "plugins": [bridge, ports]}


def containerd_configuration(folder: Path, host_python_spec: Path) -> str:
    """containerd.toml of a node whose files are in `folder`.

    `restrict_oom_score_adj`: without CAP_SYS_RESOURCE no sandbox could lower its score, and none would start.
    Only the handler for host Python has mounts of the machine in its containers.
    """
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=True)
    # An overlay cannot be laid over an overlay, which the root file system of a container is.
    snapshotter = "native" if kind.stdout.strip() == "overlayfs" else "overlayfs"
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [{cri}.cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{folder / "cni"}"
  [{cri}.containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    [{cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
    [{cri}.containerd.runtimes.{HOST_PYTHON_HANDLER}]
      runtime_type = "io.containerd.runc.v2"
      base_runtime_spec = "{host_python_spec}"
"""
