"""Helm and the chart, as integration tests use them against an API server that runs no pods."""

from __future__ import annotations

import subprocess
from pathlib import Path

from conftest import binary

CHART = Path(__file__).resolve().parents[2] / "charts" / "kinema"


class Helm:
    """Helm against one API server. Nothing runs pods there, so nothing is waited for."""

    def __init__(self, kubeconfig: Path) -> None:
        self._command = [str(binary("helm")), "--kubeconfig", str(kubeconfig)]

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run([*self._command, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def upgrade(self, namespace: str, *values: str) -> None:
        self("upgrade", "--install", "kinema", str(CHART), "-n", namespace, "--create-namespace", *values)
