"""What the chart says of itself: README has every value as it is, annotations the kinds and samples as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kinema_api import names
from kinema_api.crd import KINDS, resource_schema

REPOSITORY = Path(__file__).resolve().parents[3]
CHART = REPOSITORY / "charts" / "kinema"
README = (CHART / "README.md").read_text()
ANNOTATIONS = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
WHOLE = {"resources"}
"""Values that are given as one thing."""


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value and key not in WHOLE:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_the_readme_lists_every_value_with_its_default() -> None:
    listed = dict(re.findall(r"^\| `([\w.]+)` \| `(.*?)` \| .*\|$", README, re.MULTILINE))
    wanted = leaves(yaml.safe_load((CHART / "values.yaml").read_text()))
    assert listed == {path: json.dumps(value) for path, value in wanted}


@pytest.mark.parametrize("path", re.findall(r"--set ([\w.]+)=", README))
def test_the_readme_sets_values_that_exist(path: str) -> None:
    assert path in dict(leaves(yaml.safe_load((CHART / "values.yaml").read_text())))


def test_the_annotations_list_the_kinds() -> None:
    assert yaml.safe_load(ANNOTATIONS["artifacthub.io/crds"]) == [
        {
            "kind": kind.kind,
            "version": names.VERSION,
            "name": f"{kind.plural}.{names.GROUP}",
            "displayName": kind.kind.removeprefix("Video").removeprefix("Model") or "Model",
            "description": resource_schema(kind)["description"],
        }
        for kind in KINDS
    ]


def test_the_annotations_show_the_samples() -> None:
    samples = [(REPOSITORY / "manifests" / "samples" / f"{name}.yaml") for name in ("training", "generation")]
    shown = yaml.safe_load(ANNOTATIONS["artifacthub.io/crdsExamples"])
    assert shown == [yaml.safe_load(sample.read_text()) for sample in samples]
