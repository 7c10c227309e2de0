"""The baseline wired to the data, the sampler and the optimiser: what an oracle knows must come out as a clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.latte.contender import DdpmObjective, as_velocity, latents_of, latte, texts_of
from bench.latte.diffusion import STEPS, Ddpm
from bench.latte.network import LARGEST_DIFFERENCE, Part, parameter_count
from bench.learning_ours import FlowObjective, Task, held_out, our_model
from kinema_model.codec.codec import to_float
from kinema_model.config import ModelConfig
from kinema_model.text.encoder import TextEncoder
from kinema_world import Video

SEED = 3


@pytest.fixture(scope="module")
def task() -> Task:
    config = ModelConfig.from_preset("tiny", width=32, depth=2, frames=4)
    return Task(config, 4 * config.tokens_per_clip, SEED, TextEncoder())


class Oracle(nn.Module):
    """Knows the one clip (1, C, T, H, W) there is; says its noise and a variance, or the clip itself."""

    def __init__(self, clean: Tensor, says_clip: bool = False) -> None:
        super().__init__()
        self.clean, self.says_clip = clean, says_clip
        self.times: list[float] = []

    def forward(self, x: Tensor, times: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        self.times.append(float(times[0]))
        if self.says_clip:
            return self.clean.expand_as(x)
        bar = Ddpm().alpha_bar[times].view(-1, 1, 1, 1, 1)
        noise = (x - bar.sqrt() * self.clean) / (1 - bar).sqrt()
        return torch.cat((noise, torch.zeros_like(noise)), dim=1)


def only_clip(task: Task) -> tuple[Video, Tensor]:
    """The world's first clip as pixels and as latents (1, C, T, H, W)."""
    video = task.world.sample(0).video
    return video, to_float(torch.from_numpy(video)[None])


def test_ddim_draws_the_clip_of_an_oracle(task: Task) -> None:
    video, latents = only_clip(task)
    drawn = DdpmObjective(task, steps=5).sample(Oracle(latents), ["a red square moves up"] * 2, [1, 2])
    assert drawn.dtype == np.uint8
    assert np.abs(drawn.astype(int) - video).max() <= 1


def test_flow_draws_the_clip_of_an_oracle_and_tells_times_as_latte_counts_them(task: Task) -> None:
    video, latents = only_clip(task)
    oracle = Oracle(latents, says_clip=True)
    objective = FlowObjective(task, 8, lambda model: as_velocity(model, task.config, clean=True))
    drawn = objective.sample(oracle, ["a red square moves up"], [1])
    assert np.abs(drawn[0].astype(int) - video).max() <= 1
    assert oracle.times[0] == STEPS
    assert oracle.times == sorted(oracle.times, reverse=True)


def test_no_batch_holds_what_is_held_out_and_none_comes_twice(task: Task) -> None:
    ids = [i for step in range(20) for i in task.indices(step)]
    assert len(ids) == len(set(ids)) == 20 * task.batch
    assert not any(held_out(task.world.scene(i).attributes) for i in ids)


def test_baseline_learns_the_clips_and_prompts_that_ours_learns(task: Task) -> None:
    left_out = 0
    for step in range(12):
        pack, _ = task.objective.batch(task.indices(step), step)
        latents, (text, mask) = latents_of(pack.tokens, pack, task.config), texts_of(pack)
        for row, index in enumerate(task.indices(step)):
            clip = task.world.sample(index)
            assert torch.equal(latents[row], to_float(torch.from_numpy(clip.video)[None])[0])
            left_out += not mask[row].any()
            if mask[row].any():
                assert torch.equal(text[row][mask[row]], task.encoder.encode([clip.caption])[0])
    assert 0 < left_out < 24


@pytest.mark.parametrize("parts", [(), (Part.FLOW,), (Part.FLOW, Part.CLEAN), tuple(Part)])
def test_contenders_train_and_draw(task: Task, parts: tuple[Part, ...]) -> None:
    target = parameter_count(our_model(task.config, SEED))
    contender = latte(task, target, 1e-3, 2, parts)
    before = {name: value.clone() for name, value in contender.ema.shadow.items()}
    losses = [contender.train_step(step) for step in range(2)]
    assert np.isfinite(losses).all()
    assert any(not torch.equal(value, contender.ema.shadow[name]) for name, value in before.items())
    assert abs(contender.parameters() - target) <= LARGEST_DIFFERENCE * target
    assert contender.sample(["a red square moves up"] * 2, [1, 2]).shape == (2, 4, 24, 24, 3)


def test_untrained_baseline_misses_all_of_the_noise(task: Task) -> None:
    # It says 0 for noise of unit power, and the bound of a chain of a thousand steps is small beside it.
    contender = latte(task, parameter_count(our_model(task.config, SEED)), 1e-3, 2)
    losses = [float(contender.objective.loss(contender.model, step).detach()) for step in range(8)]
    assert np.mean(losses) == pytest.approx(1, abs=0.1)


def test_a_seed_sets_first_weights_and_samples(task: Task) -> None:
    first, second = (latte(task, 40_000, 1e-3, 2) for _ in range(2))
    assert [first.train_step(0), first.train_step(1)] == [second.train_step(0), second.train_step(1)]
