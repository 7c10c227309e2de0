"""What the distribution and the chart say of themselves agrees."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
CHART = yaml.safe_load((REPOSITORY / "charts" / "kinema" / "Chart.yaml").read_text())


def test_chart_and_distribution_are_of_one_version() -> None:
    assert CHART["version"] == CHART["appVersion"] == PROJECT["version"]


def test_they_describe_themselves_alike() -> None:
    assert CHART["description"] == PROJECT["description"]
    assert CHART["keywords"] == PROJECT["keywords"]


def test_the_python_that_is_pinned_is_the_one_that_is_claimed() -> None:
    """Nothing else has been tested."""
    least = PROJECT["requires-python"].removeprefix(">=")
    claimed = [text.rsplit(" ", 1)[1] for text in PROJECT["classifiers"] if "Python :: 3." in text]
    assert claimed == [least]
    assert f"--python-version {least} " in (REPOSITORY / "Makefile").read_text()
