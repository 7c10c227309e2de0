"""A run on recorded clips without a cluster: prepared once, trained on, measured and published."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kinema_model.artefact import load_model
from unit.jobs.prepare.material import LENIENT, drawn

pytestmark = pytest.mark.timeout(900)
URI = "s3://kinema/inputs/default/clips/"


def local(folder: Path, uri: str = URI) -> tuple[int, list[dict[str, Any]]]:
    """`python -m kinema_jobs.local` of a small training: its exit code and events."""
    spec = {
        "model": {"preset": "tiny", "overrides": {"width": 24, "depth": 1, "heads": 2, "size": "32x24"}},
        "data": {"videos": [{"uri": uri, "filters": {**LENIENT, "minFrames": 4}}]},
        "optimization": {"steps": 4, "batchTokens": 200},
    }
    file = folder / "training.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "kinema.dev/v1alpha1",
                "kind": "VideoModelTraining",
                "metadata": {"name": "clips"},
                "spec": spec,
            }
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "kinema_jobs.local", str(file), "--work", str(folder / "work")],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def put(folder: Path) -> Path:
    clips = folder / "work/store/kinema/inputs/default/clips"
    clips.mkdir(parents=True)
    for number in range(3):
        drawn(clips / f"{number}.mp4", number)
        (clips / f"{number}.txt").write_text(f"stripes {number}")
    return clips


def test_clips_are_prepared_once_and_the_model_names_its_data(tmp_path: Path) -> None:
    put(tmp_path)
    code, events = local(tmp_path)
    assert code == 0, events
    told = [event["event"] for event in events if event["event"] != "progress"]
    assert told == ["preparing", "prepared", "started", "published"]
    folder = Path(events[-1]["folder"])
    load_model(folder)
    assert f"recorded clips of {URI}" in (folder / "card.md").read_text()
    assert [path.name for path in folder.glob("dataset-*.json")]
    assert not (folder / "world.json").exists()
    again, told_again = local(tmp_path)
    assert again == 0
    assert [event["reused"] for event in told_again if event["event"] == "prepared"] == [True]


def test_clips_of_another_bucket_are_refused_before_anything_starts(tmp_path: Path) -> None:
    code, events = local(tmp_path, "s3://elsewhere/clips/")
    assert code == 2
    assert "is not in the run's own bucket: copy the clips to" in events[-1]["message"]


def test_a_folder_without_clips_is_a_user_s_error(tmp_path: Path) -> None:
    code, events = local(tmp_path)
    assert (code, events[-1]["failureClass"]) == (2, "user_error")
