"""What README claims of versions is what is pinned, and what it says to type for the command works."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from click.testing import CliRunner

from cluster.pins import KUBERNETES_DEFAULT, KUBERNETES_FLOOR
from kinema_api import names
from kinema_cli.main import main

REPOSITORY = Path(__file__).resolve().parents[3]
README = (REPOSITORY / "README.md").read_text()
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
CHART = yaml.safe_load((REPOSITORY / "charts" / "kinema" / "Chart.yaml").read_text())
LOCK = (REPOSITORY / "requirements" / "worker.txt").read_text()


def row(name: str) -> tuple[str, str]:
    """What is supported and tested of one thing."""
    found = re.search(rf"^\| {name} \| (.*?) \| (.*?) \|$", README, re.MULTILINE)
    assert found, name
    return found[1], found[2]


def least(package: str) -> str:
    """The oldest version that the extra `train` takes."""
    (wanted,) = [one for one in PROJECT["optional-dependencies"]["train"] if one.startswith(f"{package}>=")]
    return str(wanted).split(">=")[1]


def pinned(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)", LOCK, re.MULTILINE)
    assert found, package
    return found[1]


def test_versions_are_those_that_are_asked_for_and_pinned() -> None:
    floor = ".".join(map(str, KUBERNETES_FLOOR))
    assert row("Kubernetes") == (f"{floor} or newer", KUBERNETES_DEFAULT)
    assert CHART["kubeVersion"] == f">={floor}.0-0"
    python = PROJECT["requires-python"].removeprefix(">=")
    assert row("Python") == (f"{python} or newer", python)
    for name, package in (("torch", "torch"), ("PyTorch Lightning", "pytorch-lightning")):
        assert row(name) == (f"{least(package)} or newer", pinned(package))


def test_the_status_names_this_version() -> None:
    assert f"Alpha: version {PROJECT['version']}, API `{names.API_VERSION}`" in README
    assert f"kinema-{PROJECT['version']}-py3-none-any.whl" in README


def test_the_line_for_completion_prints_a_script_that_completes() -> None:
    (variable, value) = re.findall(r"(_KINEMA_COMPLETE)=(\w+) kinema", README)[0]
    script = CliRunner().invoke(main, prog_name="kinema", env={variable: value})
    assert "complete -o nosort -F _kinema_completion kinema" in script.output
    words = {variable: "bash_complete", "COMP_WORDS": "kinema ge", "COMP_CWORD": "1"}
    completed = CliRunner().invoke(main, prog_name="kinema", env=words).output
    assert {line.split(",")[1] for line in completed.splitlines()} == {"generate", "get"}


def test_every_section_that_is_run_on_a_cluster_is_there_with_its_commands() -> None:
    runs = re.findall(r'block\("(.*?)"\)', (REPOSITORY / "tests" / "e2e" / "test_readme.py").read_text())
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL))
    assert runs
    assert [heading for heading in runs if "```sh\n" not in sections.get(heading, "")] == []
