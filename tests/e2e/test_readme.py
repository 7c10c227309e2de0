"""What README shows is what works: its shell blocks are run as they stand, each story in a namespace of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest

from e2e.conftest import end_namespace
from stage import install, kube

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

README = install.REPOSITORY / "README.md"
SHOWN = ("manifests", "charts")
STEPS = "steps: 400\n"
Shell = Callable[[str, Path], str]


def block(heading: str) -> str:
    """The shell lines below a heading."""
    section = README.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like a checkout to the commands, so that what they leave behind is not in it."""
    for name in SHOWN:
        shutil.copytree(install.REPOSITORY / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def short(folder: Path) -> Path:
    """Where the sample's training is short: that it learns is no matter of the commands (make soak judges samples)."""
    sample = folder / "manifests" / "samples" / "training.yaml"
    text = sample.read_text()
    assert text.count(STEPS) == 1
    sample.write_text(text.replace(STEPS, "steps: 60\n"))
    return folder


@pytest.fixture
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    """Runs lines as somebody whose kubeconfig points at a namespace made for the test."""
    namespace = request.node.name.removeprefix("test_").replace("_", "-")[:50].strip("-")
    kube.kubectl("delete", "namespace", namespace, "--ignore-not-found", seconds=200)
    kube.restricted_namespace(namespace)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(kube.kubectl("config", "view", "--raw", "--flatten"))
    scripts = str(Path(sys.executable).parent)
    environment = os.environ | {"KUBECONFIG": str(kubeconfig), "PATH": f"{scripts}:{os.environ['PATH']}"}

    def run(lines: str, where: Path) -> str:
        done = subprocess.run(
            ["bash", "-euxc", lines], cwd=where, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(f"kubectl config set-context --current --namespace={namespace}", tmp_path)
    yield run
    end_namespace(namespace)


def test_readme_for_a_platform_team(shell: Shell, folder: Path) -> None:
    listed = shell(block("A platform team"), folder)
    assert re.search(r"tiny-world\s+Training", listed), listed


def test_readme_for_a_pipeline_and_a_person(shell: Shell, short: Path) -> None:
    shell(block("A CI pipeline"), short)
    shell(block("A user who wants a clip"), short)
    with av.open(str(short / "clip.mp4")) as clip:
        stream = clip.streams.video[0]
        assert (stream.width, stream.height) == (24, 24)


def test_readme_without_a_cluster(shell: Shell, short: Path) -> None:
    shell(block("Without a cluster"), short)
    assert list((short / "out/local").rglob("manifest.json")), "no model was published"
