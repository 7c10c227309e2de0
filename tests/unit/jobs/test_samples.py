"""Clips that a training makes of itself are those that its model would make, and never end it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import av
import numpy as np
import pytest
import torch.distributed as dist

from kinema_api import layout
from kinema_api.errors import InvalidManifest
from kinema_api.samples import TrainingSamples
from kinema_jobs.clip.media import write_mp4
from kinema_jobs.train.export import write_model
from kinema_jobs.train.failures import StorageFailure
from kinema_jobs.train.samples import make_samples
from kinema_jobs.train.train_state import TrainState
from kinema_model.pipeline import Pipeline
from unit.jobs.rounds import config, entered

PROMPTS = ("a red square moves right", "a blue disc moves up")


@pytest.mark.slow
def test_samples_are_the_clips_that_the_published_model_makes(tmp_path: Path) -> None:
    wanted = {"prompts": PROMPTS, "everySteps": 2}
    run = config(optimization={"steps": 4, "batchTokens": 144, "seed": 1, "samples": wanted})
    uploaded: dict[str, Path] = {}

    def upload(prefix: str, folder: Path) -> None:
        uploaded[prefix] = folder.rename(tmp_path / f"kept-{len(uploaded)}")

    with entered(0, 1, dist.HashStore()) as alone:
        fitting = TrainState.build(run, alone)
        fitting.step = 2
        made = make_samples(run, fitting, tmp_path, upload)
        write_model(tmp_path / "model", fitting, "# A model\n")
    assert made == list(uploaded) == [layout.sample_prefix(run.prefix, 2, number) for number in (0, 1)]
    pipeline = Pipeline(tmp_path / "model")
    for number, (prompt, folder) in enumerate(zip(PROMPTS, uploaded.values(), strict=True)):
        assert {path.name for path in folder.iterdir()} == {layout.VIDEO, layout.THUMBNAIL, layout.REQUEST}
        record = json.loads((folder / layout.REQUEST).read_text())
        assert (record["prompt"], record["seed"], record["step"], record["reviewed"]) == (prompt, number, 2, False)
        write_mp4(pipeline.generate(prompt, number), 8.0, tmp_path / "own.mp4")
        assert np.array_equal(frames(folder / layout.VIDEO), frames(tmp_path / "own.mp4"))
    assert not (tmp_path / "samples").exists()


def frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.slow
def test_samples_that_cannot_be_stored_do_not_end_a_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = config(optimization={"steps": 4, "batchTokens": 144, "samples": {"prompts": PROMPTS}})

    def upload(prefix: str, folder: Path) -> None:
        raise StorageFailure("the store is away; look at it")

    with entered(0, 1, dist.HashStore()) as alone, caplog.at_level(logging.INFO):
        assert make_samples(run, TrainState.build(run, alone), tmp_path, upload) == []
    assert "the store is away" in caplog.text
    assert not (tmp_path / "samples").exists()


@pytest.mark.parametrize(
    ("samples", "field"),
    [
        ({}, "prompts"),
        ({"prompts": []}, "prompts"),
        ({"prompts": ["a"] * 9}, "prompts"),
        ({"prompts": [" "]}, "the prompt is blank"),
        ({"prompts": ["a"], "everySteps": 0}, "everySteps"),
    ],
)
def test_samples_that_make_no_sense_are_refused(samples: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidManifest, match=field):
        TrainingSamples.parse(samples)
