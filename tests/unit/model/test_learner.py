"""One optimiser step: precision, recomputation and pieces change how it is computed, never what."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.utils._python_dispatch import TorchDispatchMode

from kinema_model.adapters.lora import ATTENTION, FEED_FORWARD, LoraConfig, lora_state
from kinema_model.config import ModelConfig
from kinema_model.errors import ConfigError, ShapeError
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


def adapted(config: ModelConfig, **options: Any) -> DenoiserLearner:
    torch.manual_seed(5)
    lora = LoraConfig(2, 4.0, (*ATTENTION, *FEED_FORWARD))
    made = DenoiserLearner.build(config, LearnerOptions(**options), learning_rate=1e-2, steps=10, lora=lora)
    made.begin_from(dict(learner(config).model.named_parameters()))
    return made


def test_a_denoiser_begins_with_the_weights_of_another_and_so_does_its_average(config: ModelConfig) -> None:
    base = learner(config).model.state_dict()
    torch.manual_seed(6)
    one = DenoiserLearner.build(config, LearnerOptions(), learning_rate=1e-3, steps=10)
    one.begin_from(base)
    assert not one.frozen
    for name, tensor in base.items():
        assert torch.equal(one.trained_state()[name], tensor)
        assert torch.equal(one.published_state()[name], tensor)
        assert one.ema.shadow[name].data_ptr() != one.trained_state()[name].data_ptr()


@pytest.mark.parametrize("lora", [None, LoraConfig(2)])
def test_weights_of_another_network_are_refused_by_name(config: ModelConfig, lora: LoraConfig | None) -> None:
    base = learner(config).model.state_dict()
    one = DenoiserLearner.build(config, LearnerOptions(), learning_rate=1e-3, steps=10, lora=lora)
    name = "network.proj_out.weight"
    for wrong in ({**base, name: base[name][:, :-1]}, {**base, "network.more": base[name]}):
        with pytest.raises(ConfigError, match=r"in the base and .* in the model\. Train the base's own network"):
            one.begin_from(wrong)
    del base[name]
    with pytest.raises(ConfigError, match=f"{name} is nowhere in the base"):
        one.begin_from(base)


def test_adapters_are_trained_alone_and_the_base_stays(config: ModelConfig) -> None:
    one = adapted(config)
    assert one.frozen
    before = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    names = {f"network.{name}" for name in lora_state(one.model.network)}
    assert set(one.trained_state()) == set(one.ema.shadow) == names
    clean, noise = batch((3, 8, 12), (2, 8, 8))
    first = float(one.learn([(clean, noise)]))
    for _ in range(5):
        last = float(one.learn([(clean, noise)]))
    assert last < first
    changed = {name for name, tensor in one.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == names
    state = get_optimizer_state_dict(one.model, one.optimizer)["state"]
    assert set(state) == names


def test_what_is_published_is_the_average_merged_into_the_base(config: ModelConfig) -> None:
    one = adapted(config, ema_decay=0.5)
    clean, noise = batch((3, 8, 12), (2, 8, 8))
    for _ in range(3):
        one.learn([(clean, noise)])
    plain = learner(config).model
    plain.load_state_dict(one.published_state())
    one.ema.copy_to(one.model)
    with torch.no_grad():
        assert torch.allclose(plain(clean), one.model(clean), atol=1e-5)


def test_a_checkpoint_of_adapters_goes_on_where_it_stopped(config: ModelConfig) -> None:
    one, other = adapted(config), adapted(config)
    clean, noise = batch((3, 8, 12), (2, 8, 8))
    one.learn([(clean, noise)])
    other.load_trained({name: tensor.clone() for name, tensor in one.trained_state().items()})
    with torch.no_grad():
        assert torch.equal(one.model(clean), other.model(clean))
    with pytest.raises(ShapeError, match="another model"):
        learner(config).load_trained(one.trained_state())


def test_a_rank_above_the_width_is_refused(config: ModelConfig) -> None:
    with pytest.raises(ConfigError, match=r"lora.rank 1000 exceeds the network's width"):
        DenoiserLearner.build(config, LearnerOptions(), learning_rate=1e-3, steps=1, lora=LoraConfig(1000))


@pytest.mark.parametrize("mode", ["selective", "full"])
def test_recomputation_gives_adapters_the_same_gradients(mode: Recompute, config: ModelConfig) -> None:
    clean, noise = batch((3, 8, 12), (2, 8, 8))
    kept, recomputed = (gradients(adapted(config, recompute=each), clean, noise) for each in ("none", mode))
    assert len(kept) == len(recomputed) > 0
    for one, other in zip(kept, recomputed, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)
