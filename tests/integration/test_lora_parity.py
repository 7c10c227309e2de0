"""Adapters pass between diffusers with peft and our network, with equal outputs both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanPipeline, WanTransformer3DModel
from peft import LoraConfig as PeftConfig
from safetensors import safe_open
from torch import Tensor

from kinema_model.adapters.folder import LORA_FILE, load_lora, save_lora
from kinema_model.adapters.lora import ATTENTION, FEED_FORWARD, LoraConfig, add_lora, lora_state
from kinema_model.network.config import NetworkConfig
from kinema_model.network.pack import Part, Sample, pack_samples, unpack
from kinema_model.network.transformer import VideoTransformer

SHAPE = NetworkConfig(num_attention_heads=2, attention_head_dim=12, ffn_dim=48, num_layers=2, text_dim=16, freq_dim=16)
SIZE = (3, 4, 6)
LORA = LoraConfig(4, 6.0, (*ATTENTION, *FEED_FORWARD))
# In float32 both sum the same numbers in another order.
TOLERANCE = 1e-5


@pytest.fixture
def theirs() -> Any:
    """diffusers' network with random weights."""
    torch.manual_seed(0)
    fields = SHAPE.to_diffusers()
    del fields["_class_name"]
    made = WanTransformer3DModel(**fields)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


def ours_of(theirs: Any) -> VideoTransformer:
    """Our network over the same weights."""
    with torch.device("meta"):
        made = VideoTransformer(SHAPE, null_text=False)
    made.load_state_dict({name: p.detach().clone() for name, p in theirs.state_dict().items()}, assign=True)
    return made.eval()


def inputs() -> tuple[Tensor, Tensor, float]:
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(SHAPE.in_channels, *SIZE, generator=generator)
    return latents, torch.randn(5, SHAPE.text_dim, generator=generator), 0.6


@torch.no_grad()
def their_output(network: Any) -> Tensor:
    latents, text, level = inputs()
    out: Tensor = network(latents[None], torch.tensor([level * 1000]), text[None], return_dict=False)[0]
    return out[0]


@torch.no_grad()
def our_output(network: VideoTransformer) -> Tensor:
    latents, text, level = inputs()
    _, height, width = SHAPE.patch_size
    levels = torch.full((SIZE[0], SIZE[1] // height, SIZE[2] // width), level)
    pack = pack_samples([Sample((Part(latents, levels, torch.arange(SIZE[0])),), text)], SHAPE.patch_size)
    emitted = network(pack)
    channels_first = emitted.view(len(emitted), -1, SHAPE.out_channels).transpose(1, 2).flatten(1)
    return unpack(channels_first, pack, SHAPE.patch_size)[0][0]


def agree(one: Tensor, other: Tensor) -> None:
    scale = float(one.abs().max().clamp(min=1))
    assert float((one - other).abs().max()) <= TOLERANCE * scale


def test_an_adapter_of_ours_has_the_same_outputs_in_diffusers(theirs: Any, tmp_path: Path) -> None:
    ours = ours_of(theirs)
    before = our_output(ours)
    agree(before, their_output(theirs))
    add_lora(ours, LORA)
    for parameter in lora_state(ours).values():
        torch.nn.init.normal_(parameter, std=0.2)
    save_lora(tmp_path, {"transformer": ours}, LORA)
    theirs.load_lora_adapter(str(tmp_path), weight_name=LORA_FILE, prefix="transformer")
    agree(our_output(ours), their_output(theirs))
    assert not torch.allclose(our_output(ours), before, atol=1e-2), "the adapter changes the outputs"


@pytest.mark.parametrize("targets", [ATTENTION, (*ATTENTION, *FEED_FORWARD), ("to_q", "to_v")])
def test_an_adapter_of_peft_has_the_same_outputs_here(theirs: Any, tmp_path: Path, targets: tuple[str, ...]) -> None:
    ours = ours_of(theirs)
    before = our_output(ours)
    theirs.add_adapter(PeftConfig(r=4, lora_alpha=6, target_modules=list(targets), init_lora_weights=False))
    theirs.save_lora_adapter(str(tmp_path), weight_name="adapter.safetensors")
    found = load_lora(tmp_path / "adapter.safetensors", ours)
    assert (found.rank, found.alpha, set(found.targets)) == (4, 6.0, set(targets))
    agree(our_output(ours), their_output(theirs))
    assert not torch.allclose(our_output(ours), before, atol=1e-2), "the adapter changes the outputs"


def test_the_file_of_a_pipeline_is_read(theirs: Any, tmp_path: Path) -> None:
    from peft.utils import get_peft_model_state_dict

    theirs.add_adapter(PeftConfig(r=4, lora_alpha=4, target_modules=["to_q"], init_lora_weights=False))
    WanPipeline.save_lora_weights(tmp_path, transformer_lora_layers=get_peft_model_state_dict(theirs))
    ours = ours_of_base(theirs)
    assert load_lora(tmp_path / LORA_FILE, ours) == LoraConfig(4, 4.0, ("to_q",))
    agree(our_output(ours), their_output(theirs))


def ours_of_base(theirs: Any) -> VideoTransformer:
    """Our network over the weights below an adapter."""
    state = {n.replace(".base_layer", ""): p for n, p in theirs.state_dict().items() if ".lora_" not in n}
    with torch.device("meta"):
        made = VideoTransformer(SHAPE, null_text=False)
    made.load_state_dict({name: p.detach().clone() for name, p in state.items()}, assign=True)
    return made.eval()


def test_rank_and_alpha_stand_in_the_header(theirs: Any, tmp_path: Path) -> None:
    ours = ours_of(theirs)
    add_lora(ours, LORA)
    with safe_open(save_lora(tmp_path, {"transformer": ours}, LORA), "pt") as stored:
        told = json.loads(stored.metadata()["lora_adapter_metadata"])
    assert (told["transformer.r"], told["transformer.lora_alpha"]) == (4, 6.0)
