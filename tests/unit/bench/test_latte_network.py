"""The baseline's network: what may see what, where positions come from, its first weights, and its size."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.latte.contender import latte_config
from bench.latte.network import (
    LARGEST_DIFFERENCE,
    Block,
    Latte,
    LatteConfig,
    Part,
    Span,
    fitted,
    parameter_count,
)
from bench.latte.positions import sines_and_cosines, spatial_positions
from kinema_model.config import ModelConfig
from kinema_model.errors import ConfigError

SMALL = LatteConfig(
    channels=3,
    patch=(1, 4, 4),
    grid=(3, 2, 3),
    text_dim=16,
    time_dim=8,
    width=24,
    heads=2,
    pairs=2,
    hidden=96,
)
LADDER = [frozenset(list(Part)[:count]) for count in range(len(Part) + 1)]
ALONE = [frozenset({part}) for part in Part]


def inputs(batch: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    latents = torch.randn(batch, 3, 3, 8, 12, generator=source)
    text = torch.randn(batch, 5, 16, generator=source)
    return latents, torch.linspace(10, 900, batch), text, torch.ones(batch, 5, dtype=torch.bool)


def awake(config: LatteConfig) -> Latte:
    """A network in which no path is silenced by a zero."""
    torch.manual_seed(1)
    network = Latte(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network.eval()


def touched(block: Block, place: tuple[int, int]) -> Tensor:
    """(T, S): which tokens of a block's output depend on the token at `place`."""
    x = torch.randn(1, 3, 6, SMALL.width, generator=torch.Generator().manual_seed(2), requires_grad=True)
    rows = torch.randn(1, 6, SMALL.width)
    text, mask = torch.randn(1, 5, SMALL.width), torch.ones(1, 5, dtype=torch.bool)
    out = block(x, rows, None, text, mask)
    hits = torch.zeros(3, 6, dtype=torch.bool)
    for t in range(3):
        for s in range(6):
            gradient = torch.autograd.grad(out[0, t, s].sum(), x, retain_graph=True)[0]
            hits[t, s] = gradient[0, place[0], place[1]].abs().max() > 0
    return hits


@pytest.mark.parametrize("span", list(Span))
def test_a_block_sees_its_span_and_no_more(span: Span) -> None:
    torch.manual_seed(0)
    hits = touched(Block(SMALL, span, reads=True), (1, 4))
    expected = torch.zeros(3, 6, dtype=torch.bool)
    if span is not Span.TIME:
        expected[1] = True
    if span is not Span.FRAME:
        expected[:, 4] = True
    if span is Span.CLIP:
        expected[:] = True
    assert torch.equal(hits, expected)


def test_published_blocks_alternate_and_only_spatial_ones_read_text() -> None:
    blocks = [block for block in Latte(SMALL).blocks if isinstance(block, Block)]
    assert [block.span for block in blocks] == [Span.FRAME, Span.TIME] * SMALL.pairs
    assert [block.text_attention is not None for block in blocks] == [True, False] * SMALL.pairs


def test_sines_and_cosines_are_those_of_the_formula() -> None:
    table = sines_and_cosines(8, torch.arange(5))
    for place in range(5):
        for i in range(4):
            angle = place / 10_000 ** (2 * i / 8)
            assert table[place, i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[place, 4 + i].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_spatial_positions_tell_columns_in_one_half_and_rows_in_the_other() -> None:
    table = spatial_positions(8, 2, 3).view(2, 3, 8)
    assert torch.equal(table[0, :, :4], table[1, :, :4])
    assert torch.equal(table[:, 0, 4:], table[:, 2, 4:])
    assert len({tuple(row) for row in table.flatten(0, 1).tolist()}) == 6


@pytest.mark.parametrize("parts", LADDER + ALONE, ids=lambda parts: "+".join(sorted(parts)) or "published")
def test_every_part_can_be_put_in(parts: frozenset[Part]) -> None:
    config = replace(SMALL, parts=parts)
    latents, times, text, mask = inputs()
    out = awake(config)(latents, times, text, mask)
    channels = 3 if Part.FLOW in parts else 6
    assert out.shape == (2, channels, 3, 8, 12)
    assert out.isfinite().all()
    assert Latte(config)(latents, times, text, mask).abs().max() == 0


@pytest.mark.parametrize("parts", [LADDER[0], LADDER[-1]], ids=["published", "ours"])
def test_clips_of_a_batch_do_not_meet_and_padding_does_not_count(parts: frozenset[Part]) -> None:
    network = awake(replace(SMALL, parts=parts))
    latents, times, text, mask = inputs()
    mask[0, 3:] = False
    together = network(latents, times, text, mask)
    alone = network(latents[:1], times[:1], text[:1, :3], mask[:1, :3])
    assert torch.allclose(together[:1], alone, atol=1e-4)


@pytest.mark.parametrize("parts", [LADDER[0], LADDER[-1]], ids=["published", "ours"])
def test_prompt_level_frame_and_place_all_show(parts: frozenset[Part]) -> None:
    network = awake(replace(SMALL, parts=parts))
    latents, times, text, mask = inputs(1)
    latents = torch.zeros_like(latents)
    out = network(latents, times, text, mask)
    assert not torch.allclose(out, network(latents, times, text.flip(-1), mask), atol=1e-3)
    assert not torch.allclose(out, network(latents, times / 2, text, mask), atol=1e-3)
    assert not torch.allclose(out, network(latents, times, text, torch.zeros_like(mask)), atol=1e-3)
    assert not torch.allclose(out[:, :, 0], out[:, :, 1], atol=1e-3)
    assert not torch.allclose(out[..., :4], out[..., 4:8], atol=1e-3)


def test_first_weights_are_the_published_ones() -> None:
    torch.manual_seed(0)
    network = Latte(replace(SMALL, width=96, hidden=384))
    block = network.blocks[0]
    assert isinstance(block, Block)
    # Uniform in +-a has a spread of a / sqrt(3); tables are normal over the root of the width.
    bound = math.sqrt(6 / (96 + 384))
    assert block.mlp[0].weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert network.conditioning.modulation.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.table.std().item() == pytest.approx(96**-0.5, rel=0.15)
    assert network.head.weight.abs().max() == 0


@pytest.mark.parametrize("parts", LADDER, ids=lambda parts: str(len(parts)))
def test_parameters_are_those_of_the_model_under_test(parts: frozenset[Part]) -> None:
    target = 60_000
    found = fitted(replace(SMALL, parts=parts), target)
    assert abs(parameter_count(Latte(found)) - target) <= LARGEST_DIFFERENCE * target


def test_a_size_that_no_width_gives_is_refused() -> None:
    with pytest.raises(ConfigError, match="Change `heads`"):
        fitted(SMALL, 10)


def test_baseline_has_the_tokens_of_the_tiny_preset() -> None:
    config = ModelConfig.from_preset("tiny")
    found, network = latte_config(config, 1_393_600), config.network
    assert math.prod(found.grid) == config.tokens_per_clip
    assert (found.patch, found.heads) == (config.patch, network.num_attention_heads)
    assert 2 * found.pairs == network.num_layers
