"""The page on fine-tuning shows the sample that its commands apply."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[3]


def test_the_page_shows_the_sample() -> None:
    page = (REPOSITORY / "docs" / "fine-tuning.md").read_text()
    shown = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert yaml.safe_load((REPOSITORY / "manifests/samples/finetune/training.yaml").read_text()) in shown
