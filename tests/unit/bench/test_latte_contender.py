"""The baseline wired to the data, the sampler and the optimiser: what an oracle knows must come out as a clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.latte.contender import DdpmObjective, as_velocity, latte
from bench.latte.diffusion import STEPS, Ddpm
from bench.latte.network import LARGEST_DIFFERENCE, Part, parameter_count
from bench.learning_ours import FlowObjective, Task, held_out, our_model
from kinema_model.config import ModelConfig
from kinema_model.text import TextEncoder

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


def test_ddim_draws_the_clip_of_an_oracle(task: Task) -> None:
    clip = task.world.sample(0)
    video, _ = task.world.batch([0])
    drawn = DdpmObjective(task, steps=5).sample(Oracle(video), [clip.caption, clip.caption], [1, 2])
    assert drawn.dtype == np.uint8
    assert np.abs(drawn.astype(int) - clip.video).max() <= 1


def test_flow_draws_the_clip_of_an_oracle_and_tells_times_as_latte_counts_them(task: Task) -> None:
    video, _ = task.world.batch([0])
    oracle = Oracle(video, says_clip=True)
    objective = FlowObjective(task, 8, lambda model: as_velocity(model, clean=True))
    drawn = objective.sample(oracle, ["a red square moves up"], [1])
    assert np.abs(drawn[0].astype(int) - task.world.sample(0).video).max() <= 1
    assert oracle.times[0] == STEPS
    assert oracle.times == sorted(oracle.times, reverse=True)


def test_no_batch_holds_what_is_held_out_and_none_comes_twice(task: Task) -> None:
    ids = [i for step in range(20) for i in task.indices(step)]
    assert ids == sorted(set(ids))
    assert not any(held_out(task.world.state(i)[0].attributes) for i in ids)
    again = Task(task.config, 4 * task.config.tokens_per_clip, SEED, task.encoder)
    assert again.indices(19) == ids[-task.batch :]


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
