"""What Helm prints after an installation, which must do for somebody who has the chart and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import binary
from integration.helm import CHART

SAMPLES = CHART.parents[1] / "manifests" / "samples"
KUBERNETES = "1.34.0"
SHOWN = """
apiVersion: v1
kind: ConfigMap
metadata: {name: notes}
data: {notes: {{ include "notes" . | toJson }}}
"""


def notes(folder: Path, namespace: str, *values: str) -> str:
    """The notes, which `helm template` does not print, through a template of a copy of the chart."""
    copy = folder / "kinema"
    shutil.copytree(CHART, copy)
    text = (copy / "templates" / "NOTES.txt").read_text()
    (copy / "templates" / "_notes.tpl").write_text('{{- define "notes" -}}\n' + text + "{{- end -}}\n")
    (copy / "templates" / "notes.yaml").write_text(SHOWN)
    command = [str(binary("helm")), "template", "kinema", str(copy), "-n", namespace, "-s", "templates/notes.yaml"]
    command += ["--kube-version", KUBERNETES]
    done = subprocess.run([*command, *values], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return str(yaml.safe_load(done.stdout)["data"]["notes"])


def applied(text: str) -> list[dict[str, Any]]:
    (manifest,) = re.findall(r"kubectl apply.* -f - <<'END'\n(.*?)\nEND\n", text, re.DOTALL)
    return list(yaml.safe_load_all(manifest))


def test_what_the_notes_apply_are_the_samples(tmp_path: Path) -> None:
    samples = [
        yaml.safe_load((SAMPLES / f"{name}.yaml").read_text()) for name in ("training", "generation", "download")
    ]
    assert applied(notes(tmp_path, "kinema-system")) == samples


@pytest.mark.parametrize(
    ("values", "each"),
    [((), ""), (("--set", "namespaced=true"), " -n tenant"), (("--set", "namespaced=true,watchNamespace=x"), " -n x")],
)
def test_every_command_goes_where_the_operator_looks(values: tuple[str, ...], each: str, tmp_path: Path) -> None:
    shown = notes(tmp_path, "tenant", *values)
    for command in ("kubectl apply", "kubectl get", "kubectl wait", "kinema download red-square"):
        lines = [line for line in shown.splitlines() if line.startswith(command)]
        assert lines, command
        assert all(line.removeprefix(command).startswith(each + " ") for line in lines), lines
    assert "--operator-namespace tenant" in shown


def test_the_notes_name_no_file_of_the_repository(tmp_path: Path) -> None:
    assert not re.search(r"\b(manifests|docs|charts)/", notes(tmp_path, "kinema-system"))
