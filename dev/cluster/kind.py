"""A cluster by kind, where a Docker daemon answers: what people have on their own machines.

Its nodes are containers, so the machine's Python cannot be mounted into worker pods: there they run the real
worker image. kind's own network enforces NetworkPolicies.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from .build import binary_path, ensure_binaries
from .command import run, succeeds
from .errors import ClusterError
from .existing import kubectl_program
from .progress import part
from .settings import Settings

NAME = "kinema"


def docker_answers() -> bool:
    """Whether a Docker daemon takes requests."""
    return succeeds(["docker", "info"])


class KindCluster:
    """One control-plane node and `settings.nodes` workers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def up(self) -> None:
        """Create the cluster unless it is there.

        Raises:
            ClusterError: kind failed; quotes it.
        """
        ensure_binaries(self.settings, ["kind"])
        self.settings.claim("kind")
        if NAME not in self._kind("get", "clusters").split():
            configuration = self.settings.state / "kind.json"
            configuration.write_text(json.dumps(self.configuration()))
            image = f"kindest/node:v{self.settings.kubernetes}"
            with part(f"kind cluster of {image}"):
                self._kind("create", "cluster", f"--config={configuration}", f"--image={image}", "--wait=180s")
        self.settings.kubeconfig.touch(mode=0o600)
        self.settings.kubeconfig.write_text(self._kind("get", "kubeconfig"))
        command = [kubectl_program(), f"--kubeconfig={self.settings.kubeconfig}", "get", "nodes"]
        subprocess.run(command, check=True)

    def configuration(self) -> dict[str, object]:
        """kind's description of the cluster."""
        roles = ["control-plane", *["worker"] * self.settings.nodes]
        return {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "name": NAME,
            "nodes": [{"role": role} for role in roles],
        }

    def down(self) -> None:
        """Delete the cluster."""
        if binary_path(self.settings, "kind").exists():
            self._kind("delete", "cluster")
        shutil.rmtree(self.settings.state, ignore_errors=True)

    def load(self, archive: Path) -> None:
        """Load an image archive into every node.

        Raises:
            ClusterError: kind failed; quotes it.
        """
        with part(f"load {archive.name}"):
            self._kind("load", "image-archive", str(archive))

    def _kind(self, *arguments: str) -> str:
        program = binary_path(self.settings, "kind")
        if not program.exists():
            raise ClusterError("kind is not built; run `python dev/cluster up`.")
        scope = [] if arguments[:2] == ("get", "clusters") else [f"--name={NAME}"]
        return run([program, *arguments, *scope])
