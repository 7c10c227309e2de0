"""The forms for issues and pull requests: in GitHub's shape, and asking for what an answer needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
FORMS = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
ASKING = {"textarea", "input", "dropdown", "checkboxes"}


def form(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_has_the_shape_that_github_reads(path: Path) -> None:
    content = form(path)
    assert set(content) == {"name", "description", "labels", "body"}
    asked = [part for part in content["body"] if part["type"] in ASKING]
    assert [part["type"] for part in content["body"] if part not in asked] in ([], ["markdown"])
    identities = [part["id"] for part in asked]
    assert len(set(identities)) == len(identities)
    assert all(part["attributes"]["label"] for part in asked)
    assert any(part.get("validations", {}).get("required") for part in asked)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_for_the_resources_and_the_versions(path: Path) -> None:
    text = path.read_text()
    assert "kubectl get kinema -A -o yaml" in text
    assert "kinema version" in text


def test_the_pull_request_names_verbs_that_exist() -> None:
    named = set(re.findall(r"`make ([a-z-]+)`", (REPOSITORY / ".github" / "pull_request_template.md").read_text()))
    verbs = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= verbs
