"""The ladder from Latte to ours ends at ours: with all parts and the same weights it computes the same function."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.latte.contender import as_velocity
from bench.latte.network import Block, Latte, LatteConfig, Part, parameter_count
from bench.learning_ours import Task, our_model
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.network.blocks import Attention
from kinema_model.network.blocks import Block as OurBlock
from kinema_model.text.encoder import TextEncoder

TINY = ModelConfig.from_preset("tiny", width=32, depth=2, frames=4)


def latte_like(ours: VideoDenoiser) -> Latte:
    """Latte with all parts, at our sizes and with our weights."""
    network = ours.config.network
    found = Latte(
        LatteConfig(
            channels=3,
            patch=network.patch_size,
            grid=(4, 3, 3),
            text_dim=network.text_dim,
            time_dim=network.freq_dim,
            width=network.width,
            heads=network.num_attention_heads,
            pairs=1,
            hidden=network.ffn_dim,
            parts=frozenset(Part),
        )
    )
    found.load_state_dict(renamed(ours))
    return found


def renamed(ours: VideoDenoiser) -> dict[str, Tensor]:
    """Our weights by the names of the baseline."""
    network = ours.network
    embedder, cells = network.condition_embedder, network.config.patch_size
    assert network.patch_embedding.bias is not None
    assert network.null_text is not None
    weights = {
        "embed.weight": network.patch_embedding.weight.flatten(1),
        "embed.bias": network.patch_embedding.bias,
        "conditioning.head": network.scale_shift_table[0],
        "conditioning.null": network.null_text,
        # The published layout has channels last, the baseline's has them first.
        "head.weight": network.proj_out.weight.unflatten(0, (cells[1] * cells[2], 3)).transpose(0, 1).flatten(0, 1),
        "head.bias": network.proj_out.bias.unflatten(0, (cells[1] * cells[2], 3)).T.flatten(),
        **layer("conditioning.time.0", embedder.time_embedder.linear_1),
        **layer("conditioning.time.2", embedder.time_embedder.linear_2),
        **layer("conditioning.modulation", embedder.time_proj),
        **layer("conditioning.text.0", embedder.text_embedder.linear_1),
        **layer("conditioning.text.2", embedder.text_embedder.linear_2),
    }
    for i, block in enumerate(network.blocks):
        assert isinstance(block, OurBlock)
        weights |= {f"blocks.{i}.{name}": value for name, value in renamed_block(block).items()}
    return weights


def renamed_block(block: OurBlock) -> dict[str, Tensor]:
    """One block of ours by the names of the baseline's."""
    own, text = block.attn1, block.attn2
    return {
        "table": block.scale_shift_table[0],
        **layer("attention.qkv", own.to_q, own.to_k, own.to_v),
        **attention("attention", own),
        **layer("text_attention.q", text.to_q),
        **layer("text_attention.kv", text.to_k, text.to_v),
        **attention("text_attention", text),
        **layer("text_norm", block.norm2),
        **layer("mlp.0", block.ffn.net[0].get_submodule("proj")),
        **layer("mlp.2", block.ffn.net[2]),
    }


def attention(name: str, ours: Attention) -> dict[str, Tensor]:
    norms = {f"{name}.norm_q.weight": ours.norm_q.weight, f"{name}.norm_k.weight": ours.norm_k.weight}
    return {**norms, **layer(f"{name}.out", ours.to_out[0])}


def layer(name: str, *ours: nn.Module) -> dict[str, Tensor]:
    """Weight and bias of our layers, stacked."""
    return {f"{name}.{part}": torch.cat([one.get_parameter(part) for one in ours]) for part in ("weight", "bias")}


def test_latte_with_all_parts_is_our_network() -> None:
    ours = our_model(TINY, 0)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    task = Task(TINY, 4 * TINY.tokens_per_clip, 3, TextEncoder())
    theirs = latte_like(ours)
    assert parameter_count(theirs) == parameter_count(ours)
    velocity, left_out = as_velocity(theirs, TINY, clean=True), 0
    for step in range(12):
        pack, _ = task.objective.batch(task.indices(step), step)
        left_out += int(pack.textless.sum())
        expected = ours(pack)
        assert torch.allclose(velocity(pack), expected, atol=1e-4 * float(expected.detach().abs().max()))
    assert left_out > 0


def test_blocks_of_latte_with_all_parts_read_text_everywhere() -> None:
    blocks = [block for block in latte_like(our_model(TINY, 0)).blocks if isinstance(block, Block)]
    assert all(block.text_attention is not None for block in blocks)
