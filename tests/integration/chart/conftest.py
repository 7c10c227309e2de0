"""The chart as Helm renders it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from conftest import binary
from integration.chart.rendered import KUBERNETES, NAMESPACE, Render
from integration.helm import CHART


@pytest.fixture(scope="session")
def helm() -> str:
    """The Helm program."""
    return str(binary("helm"))


@pytest.fixture(scope="session")
def template(helm: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`helm template` with values."""

    def run(
        values: dict[str, Any], namespace: str = NAMESPACE, release: str = "kinema"
    ) -> subprocess.CompletedProcess[str]:
        file = tmp_path_factory.mktemp("values") / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        command = [helm, "template", release, str(CHART), "-n", namespace, "-f", str(file)]
        command += ["--kube-version", KUBERNETES]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def render(template: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """The objects that `helm template` makes."""

    def run(
        values: dict[str, Any] | None = None, namespace: str = NAMESPACE, release: str = "kinema"
    ) -> list[dict[str, Any]]:
        done = template(values or {}, namespace, release)
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return run
