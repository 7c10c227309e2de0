from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema_evaluation import EvaluationPlan, Report, evaluate
from kinema_evaluation.plan import SEEN
from kinema_model.artefact import save_model
from kinema_model.conditions.tasks import Task
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.ema import Ema
from kinema_model.errors import PromptError, SamplingStopped, ShapeError
from kinema_model.pipeline import Pipeline
from kinema_model.text.encoder import TextEncoder


@pytest.fixture
def pipeline(tmp_path: Path, encoder: TextEncoder, awake: Callable[..., VideoDenoiser]) -> Pipeline:
    config = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2, max_side=64, max_frames=16)
    save_model(tmp_path, Ema(awake(config), 0.9).shadow, config, "# Random weights")
    return Pipeline(tmp_path, text_encoder=encoder)


def test_same_seed_same_clip(pipeline: Pipeline) -> None:
    first = pipeline.generate("a red square moves right", 5, steps=2)
    assert (first.shape, first.dtype) == ((8, 24, 24, 3), np.uint8)
    assert np.array_equal(first, pipeline.generate("a red square moves right", 5, steps=2))
    assert not np.array_equal(first, pipeline.generate("a red square moves right", 6, steps=2))
    assert not np.array_equal(first, pipeline.generate("a blue circle moves up", 5, steps=2))


def test_half_precision_draws_nearly_the_same_in_full_steps_of_brightness(pipeline: Pipeline, tmp_path: Path) -> None:
    half = Pipeline(tmp_path, text_encoder=pipeline._encoder, precision="bfloat16")
    prompt, seed = "a red square moves right", 5
    full, rounded = (each.generate(prompt, seed, steps=4).astype(int) for each in (pipeline, half))
    assert 0 < np.abs(full - rounded).mean() < 4
    # Above half of the range, bfloat16 has 64 steps where a pixel has 128.
    bright = rounded[rounded > 191]
    assert len(np.unique(bright)) > 40
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}


def test_guidance_and_negative_prompt_count(pipeline: Pipeline) -> None:
    prompt = "a red square moves right"
    plain = pipeline.generate(prompt, 5, steps=2, guidance_scale=1.0)
    guided = pipeline.generate(prompt, 5, steps=2, guidance_scale=3.0)
    against = pipeline.generate(prompt, 5, steps=2, guidance_scale=3.0, negative_prompt="a blue circle")
    assert not np.array_equal(plain, guided)
    assert not np.array_equal(guided, against)


def test_other_sizes_and_batches(pipeline: Pipeline) -> None:
    clips = pipeline.generate_batch(["a red square", "a blue circle"], [1, 2], frames=5, height=32, width=16, steps=1)
    assert clips.shape == (2, 5, 32, 16, 3)


def test_progress_and_stop(pipeline: Pipeline) -> None:
    told: list[int] = []
    with pytest.raises(SamplingStopped):
        pipeline.generate(
            "a red square",
            1,
            steps=6,
            on_step=lambda done, _: told.append(done),
            should_stop=lambda: len(told) == 3,
        )
    assert told == [1, 2, 3]


@pytest.mark.parametrize(
    ("size", "remedy"),
    [
        ({"height": 30}, "Use 32"),
        ({"width": 25}, "Use 24"),
        ({"width": 1}, "Use 8"),
        ({"height": 4096}, "Use 64"),
        ({"frames": 10_000}, "Use 16"),
        ({"frames": 0}, "Use 2"),
        ({"frames": 1}, "Use 2"),
    ],
)
def test_sizes_that_do_not_fit_get_the_nearest_that_does(pipeline: Pipeline, size: dict[str, int], remedy: str) -> None:
    with pytest.raises(ShapeError, match=remedy):
        pipeline.generate("a red square", 1, steps=1, **size)  # type: ignore[arg-type]


def test_a_model_that_was_shown_pictures_draws_one(pipeline: Pipeline) -> None:
    pipeline.config = pipeline.config.model_copy(update={"tasks": (Task.TEXT, Task.PICTURE)})
    assert pipeline.generate("a picture of a red square", 1, frames=1, steps=1).shape == (1, 24, 24, 3)


def test_the_rate_is_a_condition_and_one_that_was_not_trained_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(ShapeError, match=r"fps 12 .* trained at 8 frames per second"):
        pipeline.generate("a red square", 1, steps=1, fps=12)
    pipeline.config = pipeline.config.model_copy(update={"rates": (8, 12)})
    own, other = (pipeline.generate("a red square moves right", 1, steps=2, fps=fps) for fps in (None, 12))
    assert own.shape == other.shape
    assert not np.array_equal(own, other)
    assert np.array_equal(own, pipeline.generate("a red square moves right", 1, steps=2, fps=8))


def test_empty_prompt_and_negative_seed_are_refused(pipeline: Pipeline) -> None:
    with pytest.raises(PromptError, match="empty"):
        pipeline.generate("  ", 1)
    with pytest.raises(ShapeError, match="negative"):
        pipeline.generate("a red square", -1)


def test_an_evaluation_of_a_real_pipeline_survives_json(pipeline: Pipeline) -> None:
    report = evaluate(pipeline, EvaluationPlan(clips=8, seed=2, steps=1, sections=("captions",)))
    assert Report.model_validate_json(report.model_dump_json()) == report.model_copy(
        update={"sections": {"captions": report.sections["captions"].model_copy(update={"sheets": ()})}}
    )
    row = report.sections["captions"].row("shape", SEEN)
    assert row.score.clips == 8
    assert row.floor is not None
    assert row.floor.value >= 0.95
    assert row.chance == pytest.approx(1 / 3)
