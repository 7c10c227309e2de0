"""One optimiser step: precision, recomputation and pieces change how it is computed, never what."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kinema_model.config import ModelConfig
from kinema_model.errors import ConfigError
from kinema_model.network.pack import Pack, pack_samples, patchify
from kinema_model.network.recompute import Recompute
from kinema_model.precision import precision_for
from kinema_model.training.learner import DenoiserLearner
from kinema_model.training.options import LearnerOptions
from unit.model.clips import mixed_samples, small_network

PATCH = (1, 4, 4)


@pytest.fixture
def config(small_config: ModelConfig) -> ModelConfig:
    return small_config.model_copy(update={"network": small_network(in_channels=3), "places": "none"})


def batch(*sizes: tuple[int, int, int]) -> tuple[Pack, Tensor]:
    samples = mixed_samples(list(sizes), [3] * len(sizes))
    clean = pack_samples(samples, PATCH)
    noise = torch.cat([patchify(torch.randn_like(sample.parts[0].latents), PATCH) for sample in samples])
    return clean, noise


def learner(config: ModelConfig, **options: Any) -> DenoiserLearner:
    torch.manual_seed(5)
    made = DenoiserLearner.build(config, LearnerOptions(**options), learning_rate=1e-3, steps=10)
    for parameter in made.model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return made


def gradients(one: DenoiserLearner, clean: Pack, noise: Tensor) -> list[Tensor]:
    one.begin()
    torch.autograd.backward(one.loss(clean, noise).total)
    return [p.grad.clone() for p in one.model.parameters() if p.grad is not None]


@pytest.mark.parametrize("mode", ["selective", "full"])
def test_recomputation_gives_the_same_gradients(mode: Recompute, config: ModelConfig) -> None:
    clean, noise = batch((3, 8, 12), (2, 8, 8))
    kept, recomputed = (gradients(learner(config, recompute=each), clean, noise) for each in ("none", mode))
    assert len(kept) == len(recomputed)
    for one, other in zip(kept, recomputed, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


class _Calls(TorchDispatchMode):
    """Counts operators by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func._schema.name] += 1
        return func(*args, **(kwargs or {}))


def calls(one: DenoiserLearner) -> Counter[str]:
    clean, noise = batch((3, 8, 12))
    with _Calls() as found:
        gradients(one, clean, noise)
    return found.counts


def test_selective_recomputation_repeats_no_product_and_full_repeats_all(config: ModelConfig) -> None:
    none, selective, full = (calls(learner(config, recompute=mode)) for mode in ("none", "selective", "full"))
    products, attention = "aten::addmm", "aten::_scaled_dot_product_flash_attention_for_cpu"
    assert none[products] == selective[products] < full[products]
    assert none[attention] == selective[attention] < full[attention]
    assert none["aten::gelu"] < selective["aten::gelu"]


def test_only_the_first_blocks_are_recomputed_where_a_number_is_given(config: ModelConfig) -> None:
    products = []
    for blocks in (0, 1, 2, None):
        one = learner(config)
        one.recompute("full", blocks)
        products.append(calls(one)["aten::addmm"])
    assert products[0] < products[1] < products[2] == products[3]


def test_half_precision_keeps_weights_gradients_and_average_in_full(config: ModelConfig) -> None:
    clean, noise = batch((3, 8, 12), (2, 8, 8))
    half = learner(config, precision=torch.bfloat16)
    exact, rounded = gradients(learner(config), clean, noise), gradients(half, clean, noise)
    assert {each.dtype for each in rounded} == {torch.float32}
    norm = torch.cat([each.flatten() for each in exact]).norm()
    error = torch.cat([(a - b).flatten() for a, b in zip(exact, rounded, strict=True)]).norm()
    assert 0 < error / norm < 3e-2
    half.learn([(clean, noise)])
    tensors = [*half.model.parameters(), *half.ema.shadow.values()]
    tensors += [state["exp_avg"] for state in half.optimizer.state.values()]
    assert {each.dtype for each in tensors} == {torch.float32}


def test_a_batch_in_pieces_is_the_batch(config: ModelConfig) -> None:
    sizes = [(3, 8, 12), (2, 8, 8), (1, 4, 4)]
    whole, pieces = learner(config), learner(config)
    clean, noise = batch(*sizes)
    together = float(whole.learn([(clean, noise)]))
    parts = zip(mixed_samples(sizes, [3] * 3), noise.split(clean.clips.lengths), strict=True)
    apart = float(pieces.learn([(pack_samples([each], PATCH), part) for each, part in parts]))
    assert together == pytest.approx(apart, rel=1e-5)
    for one, other in zip(whole.ema.shadow.values(), pieces.ema.shadow.values(), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_the_gradient_is_bounded_and_the_average_follows_its_decay(config: ModelConfig) -> None:
    one = learner(config, gradient_clip=1e-3, ema_decay=0.5)
    gradients(one, *batch((3, 8, 12)))
    assert one.norm() > 1e-3
    one.clip(one.norm())
    assert one.norm() <= 1e-3 * 1.001
    assert one.ema.decay == 0.5


def test_compiled_blocks_are_not_recomputed_selectively() -> None:
    with pytest.raises(ConfigError, match="Use 'none' or 'full'"):
        LearnerOptions(compiled=True, recompute="selective")


def test_precision_is_what_is_wanted_and_full_on_a_cpu_by_default() -> None:
    cpu = torch.device("cpu")
    assert precision_for("auto", cpu) is torch.float32
    assert precision_for("bfloat16", cpu) is torch.bfloat16
    assert precision_for("float32", torch.device("cuda")) is torch.float32
