"""A clip is what the model says it is: to the last denoising step, at every precision, and never out of range."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from kinema_api import clip as api
from kinema_evaluation import EvaluationPlan
from kinema_model.artefact import save_model
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.diffusion.sampler import Guidance, euler_levels, initial_noise, sample
from kinema_model.ema import Ema
from kinema_model.errors import ModelError
from kinema_model.network.pack import Pack, Sample, pack_samples, patchify
from kinema_model.pipeline import DEFAULT_STRENGTHS, Pipeline
from kinema_model.text.encoder import TextEncoder
from unit.model.clips import clip

Build = Callable[..., VideoDenoiser]
PROMPT = "a red square moves right"


@pytest.fixture
def tiny() -> ModelConfig:
    return ModelConfig.from_preset("tiny", width=24, depth=1, heads=2, frames=2, height=8, width_px=16)


def all_knowing(config: ModelConfig, clean: Tensor) -> VideoDenoiser:
    """A model whose last layer says the clean clip, whatever it is shown."""
    model = VideoDenoiser(config).eval()
    rows = patchify(clean, config.patch)
    with torch.no_grad():
        model.network.proj_out.weight.zero_()
        model.network.proj_out.bias.zero_()
    # Channels first within a patch as inputs are; the last layer has them last.
    last = rows.view(len(rows), clean.shape[0], -1).transpose(1, 2).flatten(1)
    model.network.register_forward_hook(lambda _, args, out: out + last.repeat(len(out) // len(last), 1))
    return model


@pytest.mark.parametrize("steps", [1, 32, 50, 200])
def test_more_denoising_steps_leave_no_noise_behind(tiny: ModelConfig, steps: int) -> None:
    torch.manual_seed(0)
    clean = torch.rand(3, 2, 8, 16) * 2 - 1
    samples = [Sample((clip((2, 8, 16), 1.0, tiny.patch),), torch.ones(3, tiny.network.text_dim))]
    (made,) = sample(all_knowing(tiny, clean), samples, [5], tiny.patch, euler_levels(steps, 2.0))
    of_255 = float((made - clean).abs().max()) * 127.5
    assert of_255 < 0.1


def test_what_is_given_at_level_0_stays_finite_and_still(tiny: ModelConfig) -> None:
    clean = torch.zeros(3, 2, 8, 16)
    part = clip((2, 8, 16), torch.tensor([0.0, 1.0]), tiny.patch)
    samples = [Sample((part,), torch.ones(3, tiny.network.text_dim))]
    (made,) = sample(all_knowing(tiny, clean), samples, [5], tiny.patch, euler_levels(4, 1.0))
    assert torch.equal(made[:, 0], part.latents[:, 0])
    assert torch.allclose(made[:, 1], clean[:, 1], atol=1e-5)


def test_the_loss_of_a_clean_prediction_is_bounded_near_the_clean_end(tiny: ModelConfig) -> None:
    """An error of the clean clip counts at level 0.001 as it does at 0.05, and less at 0.5."""
    from kinema_model.training.objective import TrainingObjective
    from kinema_world import World
    from kinema_world.source import WorldSource

    objective = TrainingObjective(tiny, TextEncoder(), WorldSource(World.fixed(7, 2, 8, 16, 8)), 1)
    told = {}
    for level in (0.001, 0.05, 0.5):
        part = clip((2, 8, 16), level, tiny.patch)
        pack = pack_samples([Sample((part,), torch.ones(3, tiny.network.text_dim))], tiny.patch)
        noise = torch.randn(pack.tokens.shape, generator=torch.Generator().manual_seed(1))
        model = all_knowing(tiny, part.latents + 0.1)
        with pytest.MonkeyPatch.context() as patch, torch.no_grad():
            patch.setattr(objective, "batch", lambda indices, step, pack=pack, noise=noise: (pack, noise))
            told[level] = float(objective.loss(model, [0], 0).mean)
    assert told[0.001] == pytest.approx(told[0.05], rel=0.05)
    assert told[0.5] == pytest.approx((0.1 / 0.5) ** 2, rel=0.01)


def test_modulation_is_in_float32_under_autocast(tiny: ModelConfig, awake: Build) -> None:
    embedder = awake(tiny).network.condition_embedder
    levels = torch.tensor([0.1, 0.37, 0.9])
    with torch.no_grad():
        embedded, modulation = embedder.levels(levels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            again, modulated = embedder.levels(levels)
    assert (again.dtype, modulated.dtype) == (torch.float32, torch.float32)
    assert torch.equal(again, embedded)
    assert torch.equal(modulated, modulation)


def test_rescaled_guidance_looks_at_what_is_made_alone(tiny: ModelConfig) -> None:
    part = clip((2, 8, 16), torch.tensor([0.0, 1.0]), tiny.patch)
    prompt, blank = torch.ones(3, 8), torch.zeros(0, 8)
    ramp = torch.linspace(-1, 1, part.latents[:, 1].numel())

    def field(pack: Pack) -> Tensor:
        """Over what is given the velocity is large, and larger still without a text."""
        rows = patchify(torch.stack((torch.zeros_like(part.latents[:, 0]), ramp.view(3, 8, 16)), 1), tiny.patch)
        given = patchify(torch.stack((ramp.view(3, 8, 16), torch.zeros_like(part.latents[:, 0])), 1), tiny.patch)
        told = [text.mean() for text in pack.text.split(pack.texts.lengths)]
        return torch.cat([rows * (1 + said) + 500 * given * (2 - said) for said in told])

    guidance = Guidance(4.0, [blank], 1.0)
    (made,) = sample(field, [Sample((part,), prompt)], [1], tiny.patch, [1.0, 0.0], guidance=guidance)
    moved = (initial_noise(1, part.latents.shape) - made)[:, 1]
    assert float(moved.std()) == pytest.approx(float((2 * ramp).std()), rel=1e-3)


def test_a_clip_whose_numbers_overflow_is_an_error_and_no_black_clip(
    tiny: ModelConfig, awake: Build, encoder: TextEncoder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("model")
    model = awake(tiny)
    with torch.no_grad():
        model.network.proj_out.weight.mul_(1e38)
    save_model(folder, Ema(model, 0.9).shadow, tiny, "# Weights that are finite, and too large")
    pipeline = Pipeline(folder, text_encoder=encoder)
    told = ""
    try:
        pipeline.generate(PROMPT, 1, steps=2)
    except ModelError as error:
        told = str(error)
    assert "were not finite" in told


def test_what_is_measured_is_what_users_get() -> None:
    plan = EvaluationPlan()
    assert (plan.steps, plan.guidance_scale) == (api.DEFAULT_STEPS, api.DEFAULT_GUIDANCE_SCALE)


def test_an_edit_left_to_itself_is_as_strong_as_users_get_it() -> None:
    assert {task.value: strength for task, strength in DEFAULT_STRENGTHS.items()} == api.DEFAULT_STRENGTHS


def test_a_pipeline_left_to_itself_makes_what_users_get(
    tiny: ModelConfig, awake: Build, encoder: TextEncoder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, Ema(awake(tiny), 0.9).shadow, tiny, "# Random weights")
    pipeline = Pipeline(folder, text_encoder=encoder)
    as_users = pipeline.generate(PROMPT, 1, steps=api.DEFAULT_STEPS, guidance_scale=api.DEFAULT_GUIDANCE_SCALE)
    assert np.array_equal(pipeline.generate(PROMPT, 1), as_users)
