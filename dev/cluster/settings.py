"""Settings of the development cluster: what the environment may change, and where things lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .errors import ClusterError
from .pins import KUBERNETES_DEFAULT, kubernetes_version

REPOSITORY = Path(__file__).resolve().parents[2]
KINDS = ("auto", "native", "kind", "kubeconfig")


@dataclass(frozen=True)
class Settings:
    """What one invocation works with.

    Environment: K8S (version to run), KINEMA_CACHE (folder for binaries and state, default ~/.cache/kinema),
    KINEMA_CLUSTER (auto, native, kind or kubeconfig), KINEMA_CLUSTER_NODES (default 3),
    KINEMA_PROMETHEUS_PORT (default 9090), KINEMA_HOST_MOUNTS (more folders that worker pods of the
    host-python runtime may read, separated by ":"), KINEMA_CGROUP (root control group, default kinema).
    """

    kubernetes: str
    cache: Path
    kind: str
    nodes: int
    prometheus_port: int
    host_mounts: tuple[Path, ...]

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the environment.

        Raises:
            ClusterError: a variable has no sensible value.
        """
        environment = os.environ
        kind = environment.get("KINEMA_CLUSTER", "auto")
        if kind not in KINDS:
            raise ClusterError(f"KINEMA_CLUSTER={kind!r} is unknown; use one of {', '.join(KINDS)}.")
        mounts = environment.get("KINEMA_HOST_MOUNTS", "")
        return cls(
            kubernetes=kubernetes_version(environment.get("K8S") or KUBERNETES_DEFAULT),
            cache=Path(environment.get("KINEMA_CACHE") or Path.home() / ".cache" / "kinema").absolute(),
            kind=kind,
            nodes=_number("KINEMA_CLUSTER_NODES", 3, low=1, high=9),
            prometheus_port=_number("KINEMA_PROMETHEUS_PORT", 9090, low=1, high=65535),
            host_mounts=tuple(Path(mount) for mount in mounts.split(":") if mount),
        )

    @property
    def binaries(self) -> Path:
        """Folder of the binaries, named <component>-<version>."""
        return self.cache / "bin"

    @property
    def state(self) -> Path:
        """Folder of everything one running cluster owns; `down` removes it."""
        return self.cache / "cluster"

    @property
    def kubeconfig(self) -> Path:
        """Administrator's kubeconfig, certificates embedded."""
        return self.state / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        """Audit log of the API server, one JSON event a line, metadata level."""
        return self.state / "audit" / "audit.log"

    def claim(self, kind: str) -> None:
        """Make the state folder and note which kind of cluster owns it."""
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.state / "kind").write_text(kind)

    def claimed_kind(self) -> str | None:
        """The kind of the cluster that is up, or None."""
        marker = self.state / "kind"
        return marker.read_text() if marker.exists() else None

    def binary(self, component: str, version: str) -> Path:
        """Path of one built binary."""
        return self.binaries / f"{component}-{version}"

    def node_names(self) -> list[str]:
        """Names of the nodes, node1 first."""
        return [f"node{index}" for index in range(1, self.nodes + 1)]


def _number(variable: str, default: int, *, low: int, high: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdigit() or not low <= int(text) <= high:
        raise ClusterError(f"{variable}={text!r} must be a number from {low} to {high}.")
    return int(text)
