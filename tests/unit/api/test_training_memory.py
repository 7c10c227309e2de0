"""Memory of training: parameters are those of the modules, and a refusal names what would fit."""

from __future__ import annotations

import pytest
import torch

from kinema_api.finetune import ALL_TARGETS, Lora, LoraTarget
from kinema_api.training_memory import Means, lora_parameters, sparing, training_memory
from kinema_model.adapters.lora import LoraConfig, add_lora
from kinema_model.config import PRESETS
from kinema_model.network.config import PUBLISHED, NetworkConfig
from kinema_model.network.transformer import VideoTransformer

NETWORKS = {name: model.network for name, model in PRESETS.items()} | PUBLISHED
GIB = 1 << 30
WAN = PUBLISHED["wan2.1-t2v-1.3b"].to_diffusers()


def module(config: NetworkConfig, lora: Lora | None = None) -> VideoTransformer:
    with torch.device("meta"):
        made = VideoTransformer(config)
        if lora:
            add_lora(made, LoraConfig(lora.rank, lora.scale, lora.targets))
    return made


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_parameters_are_those_of_the_network(name: str) -> None:
    network = NETWORKS[name]
    need = training_memory(network.to_diffusers(), Means())
    assert (need.trained, need.frozen) == (sum(p.numel() for p in module(network).parameters()), 0)


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("targets", [ALL_TARGETS, ("to_q", "to_v"), ("ffn.net.2",)])
def test_parameters_of_adapters_are_those_of_the_adapters(name: str, targets: tuple[LoraTarget, ...]) -> None:
    network, lora = NETWORKS[name], Lora(rank=8, targets=targets)
    parameters = list(module(network, lora).parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    assert lora_parameters(network.to_diffusers(), lora) == trained
    need = training_memory(network.to_diffusers(), Means(lora))
    assert (need.trained, need.frozen) == (trained, sum(p.numel() for p in parameters) - trained)


def test_each_means_saves_memory() -> None:
    lora = Lora()
    plain = training_memory(WAN, Means())
    assert training_memory(WAN, Means(lora)).state < plain.state / 5
    assert training_memory(WAN, Means(recompute=True)).token < plain.token / 5
    assert training_memory(WAN, Means(half=True)).token == plain.token / 2


@pytest.mark.parametrize(
    ("free", "fine_tuning", "said"),
    [
        (200 * GIB, True, "set activationCheckpointing full in spec.optimization, with which it needs"),
        (40 * GIB, True, "set activationCheckpointing full and precision bfloat16 in spec.optimization, with which"),
        (20 * GIB, True, "set lora of rank 16 and activationCheckpointing full in spec.optimization, with which it"),
        (4 * GIB, True, "GiB and set lora of rank 16 and activationCheckpointing full and precision bfloat16"),
        (20 * GIB, False, "give workers 37.7 GiB and set activationCheckpointing full and precision bfloat16"),
    ],
)
def test_a_refusal_names_what_would_fit(free: int, fine_tuning: bool, said: str) -> None:
    assert said in sparing(WAN, Means(), 32_760, free, fine_tuning=fine_tuning)
