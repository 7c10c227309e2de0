"""The cluster this tool builds itself: a control plane and nodes as processes of one Linux machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

from . import addons, network
from .build import binary_path, ensure_binaries
from .command import succeeds
from .controlplane import ControlPlane
from .debian import install_missing
from .errors import ApiError, ClusterError, MachineUnfitError
from .hostsettings import remember_host_settings
from .images import Image, load
from .kubeapi import KubeApi
from .monitoring import start_prometheus
from .node import PAUSE_IMAGE, Node
from .process import Daemons
from .progress import await_condition, part, say
from .settings import Settings
from .teardown import take_down
from .worker_image import host_mounts, worker_image, write_runtime_spec, written_mounts

API_PORT = 6443
ETCD_PORT = 12379
ETCD_PEER_PORT = 12380
START_SECONDS = 120.0
CLIENTS: dict[str, tuple[str, str | None]] = {
    "admin": ("kinema-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", None),
    "scheduler": ("system:kube-scheduler", None),
    "kube-proxy": ("system:kube-proxy", None),
    "agent": (addons.AGENT, None),
}


class NativeCluster:
    """One cluster, its state below `settings.state`. Every step finds what is right and leaves it alone."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.daemons = Daemons(settings.state)
        self.nodes = [Node(settings, index) for index in range(1, settings.nodes + 1)]
        self.plane = ControlPlane(
            folder=settings.state,
            address=network.HOST_ADDRESS,
            port=API_PORT,
            etcd_port=ETCD_PORT,
            etcd_peer_port=ETCD_PEER_PORT,
            binary=lambda name: binary_path(settings, name),
        )

    def up(self) -> None:
        """Bring everything up that is not.

        Raises:
            MachineUnfitError: no right to make namespaces here.
            ClusterError: a part did not come up; quotes its log.
        """
        require_fit_machine()
        with _lock(self.settings.cache):
            self._claim_version()
            install_missing()
            ensure_binaries(self.settings)
            remember_host_settings(self.settings.state)
            self._start_control_plane()
            self._start_nodes()
            self._load_images()
            with part("DNS, rights, RuntimeClass"):
                addons.apply_all(KubeApi(self.settings.kubeconfig))
            self.start_component("agent")
            self.start_component("prometheus")
            self._await_ready()

    def down(self) -> None:
        """Take everything away.

        Raises:
            ClusterError: something is left; lists it.
        """
        with _lock(self.settings.cache):
            take_down(self.settings)

    def components(self) -> list[str]:
        """Names of all parts, in the order in which they start."""
        plane = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]
        return [*plane, *(node.name for node in self.nodes), "agent", "prometheus"]

    def start_component(self, name: str) -> bool:
        """Start one part unless it runs; return whether it was started.

        Raises:
            ClusterError: no such part.
        """
        if name == "prometheus":
            return start_prometheus(self.settings.state, self.daemons, self.settings.prometheus_port)
        for node in self.nodes:
            if node.name == name:
                return self._start_node(node)
        commands: dict[str, Callable[[], list[str | Path]]] = {
            "etcd": self.plane.etcd,
            "kube-apiserver": self.plane.apiserver,
            "kube-controller-manager": self.plane.controller_manager,
            "kube-scheduler": self.plane.scheduler,
            "agent": self._agent_command,
        }
        if name not in commands:
            raise ClusterError(f"There is no part {name!r}; choose among {', '.join(self.components())}.")
        return self.daemons.start(name, commands[name]())

    def stop_component(self, name: str) -> bool:
        """Stop one part: a node as by a power cut, else by SIGTERM. Return whether it was running."""
        is_node = name in {node.name for node in self.nodes}
        return self.daemons.stop(name, **({"grace_seconds": 0.0} if is_node else {}))

    def load(self, archive: Path) -> None:
        """Load an image archive into every node that lacks it."""
        if not load(self.nodes, [archive]):
            say(f"{archive.name}: on every node already")

    def _claim_version(self) -> None:
        marker = self.settings.state / "version"
        if marker.exists() and marker.read_text() != self.settings.kubernetes:
            held = marker.read_text()
            raise ClusterError(
                f"A cluster of Kubernetes {held} is up, {self.settings.kubernetes} is asked for: "
                f"take it down first, or say K8S={held}."
            )
        self.settings.claim("native")
        marker.write_text(self.settings.kubernetes)

    def _start_control_plane(self) -> None:
        names = self.components()[:4]
        with part("certificates and bridge"):
            node_clients = {node.name: (f"system:node:{node.name}", "system:nodes") for node in self.nodes}
            self.plane.prepare({**CLIENTS, **node_clients})
            self.plane.pki.write_kubeconfig(self.settings.kubeconfig, "admin", self.plane.server)
            network.ensure_bridge()
        with part("control plane"):
            for name in names[:2]:
                self.start_component(name)
            api = KubeApi(self.settings.kubeconfig)
            self._await("kube-apiserver", api.ready)
            for name in names[2:]:
                self.start_component(name)

    def _start_nodes(self) -> None:
        with part(f"{len(self.nodes)} nodes"):
            changed = write_runtime_spec(self.runtime_spec, self.worker_mounts())
            for node in self.nodes:
                if not self._start_node(node) and changed:
                    node.restart_containerd()
            for node in self.nodes:
                self._await(node.name, node.containerd_answers)

    def _start_node(self, node: Node) -> bool:
        names = {"kubelet": node.name, "kube-proxy": "kube-proxy"}
        kubeconfigs = {key: self.plane.component_kubeconfig(name) for key, name in names.items()}
        programs = (binary_path(self.settings, "kubelet"), binary_path(self.settings, "kube-proxy"))
        return node.start(*programs, kubeconfigs)

    def _load_images(self) -> None:
        with part("images"):
            images = [
                Image(
                    PAUSE_IMAGE,
                    ["/pause"],
                    programs={"pause": binary_path(self.settings, "pause")},
                    folders=(),
                ),
                addons.coredns_image(binary_path(self.settings, "coredns")),
                addons.minio_image(binary_path(self.settings, "minio")),
                worker_image(self.worker_mounts()),
            ]
            self.load_images(images)

    @property
    def runtime_spec(self) -> Path:
        """The OCI spec of containers of the host-python runtime."""
        return self.settings.state / "host-python.json"

    def worker_mounts(self) -> list[Path]:
        """What those containers see of the machine; another checkout's folders stay, its pods may be running."""
        return host_mounts([*self.settings.host_mounts, *written_mounts(self.runtime_spec)])

    def load_images(self, images: Sequence[Image]) -> None:
        """Load images made here into the nodes that lack them."""
        folder = self.settings.state / "images"
        archives = [folder / image.archive_name() for image in images]
        for image, archive in zip(images, archives, strict=True):
            if not archive.exists():
                image.write(archive)
        load(self.nodes, archives)

    def _agent_command(self) -> list[str | Path]:
        kubeconfig = self.plane.component_kubeconfig("agent")
        return [sys.executable, Path(__file__).parent, "agent", f"--kubeconfig={kubeconfig}"]

    def _await(self, name: str, condition: Callable[[], bool]) -> None:
        def settled() -> bool:
            return condition() or not self.daemons.running(name)

        if not await_condition(settled, START_SECONDS) or not self.daemons.running(name):
            raise ClusterError(
                f"{name} did not come up; its log {self.daemons.logs / name}.log ends with:\n"
                f"{self.daemons.log_tail(name)}"
            )

    def _await_ready(self) -> None:
        api = KubeApi(self.settings.kubeconfig)
        with part("all nodes Ready, DNS available"):
            if not await_condition(lambda: nodes_ready(api) >= len(self.nodes), START_SECONDS):
                raise ClusterError(
                    f"A node is not Ready after {START_SECONDS:.0f} s; see {self.settings.state}/nodes/."
                )
            if not await_condition(lambda: dns_available(api), START_SECONDS):
                raise ClusterError("CoreDNS did not become available; see `kubectl -n kube-system get pods`.")


def nodes_ready(api: KubeApi) -> int:
    """How many nodes are Ready."""
    nodes = api.request("GET", "/api/v1/nodes")["items"]
    return sum(
        condition["type"] == "Ready" and condition["status"] == "True"
        for node in nodes
        for condition in node["status"].get("conditions", [])
    )


def dns_available(api: KubeApi) -> bool:
    """Whether every replica of CoreDNS is available."""
    try:
        deployment = api.request("GET", "/apis/apps/v1/namespaces/kube-system/deployments/coredns")
    except ApiError:
        return False
    return bool(deployment["status"].get("availableReplicas", 0) >= deployment["spec"]["replicas"])


def require_fit_machine() -> None:
    """Raise unless this process may make network, mount and process-id namespaces.

    Raises:
        MachineUnfitError: it may not.
    """
    remedy = "run as root on a machine or VM, or name a cluster with KINEMA_CLUSTER=kubeconfig"
    if os.geteuid() != 0:
        raise MachineUnfitError(f"A cluster of its own needs root; {remedy}.")
    probe = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    if not succeeds(probe):
        raise MachineUnfitError(f"This machine does not let us make namespaces; {remedy}.")
    if not any(os.access(group, os.W_OK) for group in Path("/sys/fs/cgroup").iterdir()):
        raise MachineUnfitError(f"The control groups of this machine are read-only; {remedy}.")


@contextmanager
def _lock(cache: Path) -> Iterator[None]:
    """Two invocations at once would start everything twice."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "cluster.lock").open("w") as handle:
        flock(handle, LOCK_EX)
        yield
