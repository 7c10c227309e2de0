import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema_model.config import ModelConfig
from kinema_model.errors import ConfigError
from kinema_model.text import TextEncoder
from kinema_model.training import (
    TrainingObjective,
    batch_indices,
    global_batch_of,
    learning_rate_share,
    make_optimizer,
)
from kinema_model.video_model import VideoModel
from kinema_model.world import World


@pytest.fixture
def config() -> ModelConfig:
    return ModelConfig.from_preset("tiny", width=32, depth=1, heads=2, frames=2, height=16, width_px=16)


def _objective(config: ModelConfig, encoder: TextEncoder, dropout: float = 0.1) -> TrainingObjective:
    world = World.fixed(7, config.frames, config.height, config.width_px, config.fps)
    return TrainingObjective(config, encoder, world, seed=3, text_dropout=dropout)


def _gradient(model: VideoModel) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@given(step=st.integers(0, 10**6), batch=st.integers(1, 200), world_size=st.integers(1, 17))
def test_ranks_share_the_same_samples_whatever_their_number(step: int, batch: int, world_size: int) -> None:
    parts = [batch_indices(step, rank, world_size, batch) for rank in range(world_size)]
    together = [index for part in parts for index in part]
    assert sorted(together) == list(range(step * batch, (step + 1) * batch))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_rank_outside_the_group_is_refused() -> None:
    with pytest.raises(ConfigError, match="below the group's size"):
        batch_indices(0, 2, 2, 8)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_gradient_does_not_depend_on_the_world_size(config: ModelConfig, encoder: TextEncoder, world_size: int) -> None:
    """The mean of the ranks' gradients, as DDP takes it, also where 8 clips fall unevenly on 3 ranks."""
    torch.manual_seed(0)
    model = VideoModel(config)
    torch.nn.init.normal_(model.network.proj_out.weight, std=0.1)
    objective = _objective(config, encoder)
    whole = objective.loss(model, batch_indices(4, 0, 1, 8), 4)
    whole.mean.backward()
    expected = _gradient(model)
    model.zero_grad()
    parts = [objective.loss(model, batch_indices(4, rank, world_size, 8), 4) for rank in range(world_size)]
    count = sum(part.count for part in parts)
    for part in parts:
        (part.total / count).backward()
    assert torch.allclose(_gradient(model), expected, rtol=1e-3, atol=1e-4)
    assert sum(float(part.total.detach()) for part in parts) == pytest.approx(float(whole.total.detach()), rel=1e-4)


def test_loss_depends_on_seed_sample_and_step_alone(config: ModelConfig, encoder: TextEncoder) -> None:
    model = VideoModel(config)
    objective = _objective(config, encoder)
    first = objective.loss(model, [3, 5], 9)
    torch.rand(100)
    again = _objective(config, TextEncoder()).loss(model, [5, 3], 9)
    assert torch.allclose(first.total, again.total)
    assert not torch.allclose(first.total, objective.loss(model, [3, 5], 10).total)


def test_levels_are_logit_normal_and_lean_towards_noise_in_larger_clips(
    config: ModelConfig, encoder: TextEncoder
) -> None:
    objective = _objective(config, encoder)
    pack, _ = objective.batch(range(2000), 0)
    logits = torch.logit(torch.stack([levels[0] for levels in pack.token_levels.split(pack.clips.lengths)]))
    assert abs(logits.std() - 1) < 0.05
    assert abs(logits.mean() - torch.tensor(config.level_shift).log()) < 0.05
    assert config.shift_for(4 * config.tokens_per_clip) == 2 * config.shift_for(config.tokens_per_clip)


def test_text_is_dropped_at_the_given_rate(config: ModelConfig, encoder: TextEncoder) -> None:
    pack, _ = _objective(config, encoder, dropout=0.25).batch(range(400), 0)
    assert 70 < pack.textless.sum() < 130


def test_a_tiny_model_learns_a_few_clips_by_heart(config: ModelConfig, encoder: TextEncoder) -> None:
    torch.manual_seed(0)
    steps = 100
    model, objective = VideoModel(config), _objective(config, encoder, dropout=0.0)
    optimizer, schedule = make_optimizer(model, 5e-3, steps)

    def held_back() -> float:
        """The loss at noise and levels that no training step draws."""
        with torch.no_grad():
            return float(objective.loss(model, range(8), steps).mean)

    before = held_back()
    for step in range(steps):
        optimizer.zero_grad()
        objective.loss(model, range(8), step).mean.backward()
        optimizer.step()
        schedule.step()
    assert held_back() < 0.2 * before


def test_only_matrices_decay(config: ModelConfig) -> None:
    model = VideoModel(config)
    optimizer, _ = make_optimizer(model, 1e-3, 10)
    names = {parameter: name for name, parameter in model.named_parameters()}
    decaying, others = ({names[p] for p in group["params"]} for group in optimizer.param_groups)
    assert {"network.blocks.0.ffn.net.2.weight", "network.patch_embedding.weight"} <= decaying
    assert {
        "network.null_text",
        "network.blocks.0.scale_shift_table",
        "network.proj_out.bias",
        "network.blocks.0.attn1.norm_q.weight",
    } <= others
    assert [group["weight_decay"] > 0 for group in optimizer.param_groups] == [True, False]


def test_learning_rate_rises_then_falls_to_zero() -> None:
    shares = [learning_rate_share(step, 100) for step in range(101)]
    peak = shares.index(max(shares))
    assert max(shares) == 1
    assert shares[: peak + 1] == sorted(shares[: peak + 1])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)
    assert shares[-1] == pytest.approx(0)


def test_batch_tokens_become_clips(config: ModelConfig) -> None:
    assert global_batch_of(config, 80) == 10
    assert global_batch_of(config, 1) == 1
