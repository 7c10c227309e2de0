"""Workflows run what everybody can run: verbs of the Makefile. They hold few rights and name no registry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
VERBS = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
ROOT = 'sudo -E env "PATH=$PATH" '
PREPARES = re.compile(r"sudo apt-get update && sudo apt-get install -y --no-install-recommends [a-z0-9 -]+")
RIGHTS = {"contents": "read"}
MORE_RIGHTS = {"images": {**RIGHTS, "id-token": "write"}, "publish": {"contents": "write", "id-token": "write"}}
"""What a signature, and a page for the release, need."""

pytestmark = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def jobs(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from yaml.safe_load(path.read_text())["jobs"].items()


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for _, job in jobs(path):
        yield from job.get("steps", ())


def test_a_step_is_a_verb_that_exists(path: Path) -> None:
    for line in (step["run"] for step in steps(path) if "run" in step):
        if PREPARES.fullmatch(line) or line.startswith("gh release create "):
            continue
        verb = line.removeprefix(ROOT).removeprefix("make ")
        assert verb in VERBS, line


def test_no_code_of_strangers_runs(path: Path) -> None:
    used = [step["uses"] for step in steps(path) if "uses" in step]
    used += [job["uses"] for _, job in jobs(path) if "uses" in job]
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@(v\d+|[0-9a-f]{40})|\./\.github/workflows/\w+\.yml", one) for one in used)


def test_jobs_may_read_and_no_more_unless_they_sign(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == RIGHTS
    for name, job in jobs(path):
        assert job.get("permissions", RIGHTS) == MORE_RIGHTS.get(name, RIGHTS)


def test_a_job_ends_by_itself(path: Path) -> None:
    assert all("timeout-minutes" in job or "uses" in job for _, job in jobs(path))


def test_credentials_of_the_checkout_do_not_stay(path: Path) -> None:
    checkouts = [step for step in steps(path) if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)


def test_where_to_publish_is_told_by_variables(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"\b[a-z0-9-]+\.(?:io|com|org|dev|net)\b", text) == []
    for line in re.findall(r"KINEMA_REGISTRY\w*: (.*)", text):
        assert re.fullmatch(r"\$\{\{ (vars|secrets)\.KINEMA_REGISTRY\w* \}\}", line)
