"""What `kinema train --plan` shows of a file is what trainers will count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kinema_cli.main import main
from kinema_jobs.train.memory import memory_of
from kinema_model.config import MODEL_FILE, PRESETS

TINY = PRESETS["tiny"]
FILE = """
apiVersion: kinema.dev/v1alpha1
kind: VideoModelTraining
metadata: {name: t}
spec:
  model: %s
  data: {world: {}}
  optimization: {steps: 10, batchTokens: 1440%s}
  nodes: 2
"""


def planned(folder: Path, model: str, *options: str, more: str = "") -> tuple[int, str]:
    file = folder / "training.yaml"
    file.write_text(FILE % (model, more))
    done = CliRunner().invoke(main, ["train", str(file), "--plan", "--json", *options])
    return done.exit_code, done.output


@pytest.mark.slow
def test_the_plan_counts_what_trainers_count(tmp_path: Path) -> None:
    code, said = planned(tmp_path, "{preset: tiny}")
    assert code == 0, said
    plan, need = json.loads(said), memory_of(TINY)
    assert (plan["parameters"], plan["trained"]) == (need.trained, need.trained)
    assert (plan["clipTokens"], plan["stepTokens"]) == (TINY.tokens_per_clip, 720)
    (chosen,) = (row for row in plan["rows"] if row["chosen"])
    assert (chosen["state"], chosen["step"]) == (need.state, need.step(720))
    assert len(plan["rows"]) == 4


@pytest.mark.slow
def test_a_base_is_read_from_its_folder_and_shows_adapters(tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).write_text(TINY.to_json())
    model = "{initFrom: {model: tiny}}"
    code, said = planned(tmp_path, model, "--base", str(tmp_path), more=", lora: {rank: 4}")
    assert code == 0, said
    plan = json.loads(said)
    assert plan["trained"] < plan["parameters"]
    assert [row["means"] for row in plan["rows"] if row["chosen"]] == ["lora of rank 4"]
    assert len(plan["rows"]) == 8
    code, said = planned(tmp_path, model)
    assert code == 2
    assert "give its folder" in said
