"""What the utilisation benchmark counts and trains, on a network small enough for any machine."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.mfu import Measured, box_of
from bench.mfu_training import Feed, Training, fitted, model_config
from kinema_model.diffusion.flow import flow_loss
from kinema_model.network.config import NetworkConfig
from kinema_world import ShapeMix, World, WorldConfig

SMALL = model_config(
    NetworkConfig(num_attention_heads=2, attention_head_dim=24, ffn_dim=96, num_layers=3, text_dim=64, freq_dim=32)
)
TOKENS = 512


@pytest.fixture(scope="module")
def feed() -> Feed:
    return Feed(SMALL, World(WorldConfig(shapes=ShapeMix(frames=(8, 16), sides=(32, 40)))), TOKENS)


def test_flops_of_a_batch_agree_with_what_torch_counts(feed: Feed) -> None:
    training = Training(SMALL, torch.float32)
    for batch in (feed.mixed(), feed.boxes([(4, 8, 8)]), feed.boxes([(1, 8, 8)] * 4)):
        batch.clean.tokens.requires_grad_()
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
            flow_loss(training.model, batch.clean, batch.noise).mean.backward()
        assert batch.flops == pytest.approx(counted.get_total_flops(), rel=0.01)


def test_mixed_batches_are_the_planners_and_hold_no_more_than_the_budget(feed: Feed) -> None:
    first, second = feed.mixed(), feed.mixed()
    assert 0 < first.tokens <= TOKENS
    assert first.clean.clips.lengths != second.clean.clips.lengths or not torch.equal(
        first.clean.tokens, second.clean.tokens
    )
    assert first.clean.text.shape[1] == SMALL.network.text_dim


def test_a_step_moves_every_weight_and_the_average(feed: Feed) -> None:
    training = Training(SMALL, torch.bfloat16)
    before = {name: weight.clone() for name, weight in training.model.named_parameters()}
    average = {name: weight.clone() for name, weight in training.learner.ema.shadow.items()}
    for _ in range(2):
        loss = training.step(feed.mixed())
    assert torch.isfinite(torch.as_tensor(loss))
    assert all(weight.dtype is torch.float32 for weight in training.model.parameters())
    moved = [name for name, weight in training.model.named_parameters() if not torch.equal(weight, before[name])]
    # Captions are never empty here, so what stands for none is not learnt.
    assert set(before) - set(moved) <= {"network.null_text"}
    assert any(not torch.equal(weight, average[name]) for name, weight in training.learner.ema.shadow.items())


def test_recomputed_blocks_give_the_same_gradients(feed: Feed) -> None:
    batch = feed.mixed()
    gradients = []
    for count in (0, 2):
        training = Training(SMALL, torch.float32)
        training.recompute(count)
        flow_loss(training.model, batch.clean, batch.noise).mean.backward()
        gradients.append([p.grad for p in training.model.parameters() if p.grad is not None])
    assert training.recomputed == 2
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("needed", [0, 1, 3])
def test_as_few_blocks_are_recomputed_as_memory_asks_for(needed: int) -> None:
    training = Training(SMALL, torch.float32)

    def step() -> None:
        if training.recomputed < needed:
            raise torch.OutOfMemoryError

    fitted(training, step)
    assert training.recomputed == needed


def test_memory_that_never_suffices_is_told() -> None:
    training = Training(SMALL, torch.float32)

    def step() -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        fitted(training, step)
    assert training.recomputed == SMALL.network.num_layers


@pytest.mark.parametrize("tokens", [256, 512, 1024, 2048, 8192, 32768])
def test_a_box_holds_exactly_its_tokens(tokens: int) -> None:
    assert prod(box_of(tokens)) == tokens


def test_the_rate_is_the_median_of_the_steps() -> None:
    assert Measured([1.0, 2.0, 4.0], [8, 8, 8], [1, 1, 1], 0.0, 0, 0, 0.0).rate == 4.0
