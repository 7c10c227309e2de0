from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kinema_model.config import ModelConfig
from kinema_model.dit import VideoDiT, coordinate_features, distinct_levels, patchify, unpatchify
from kinema_model.errors import ShapeError
from kinema_model.layers import Block, CrossAttention, SelfAttention
from kinema_model.rope import apply_rope, rope_table

Build = Callable[..., VideoDiT]
CPU = torch.device("cpu")


def _inputs(config: ModelConfig, batch: int = 2, tokens: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    latents = torch.randn(batch, config.channels, config.frames, config.height, config.width_px)
    levels = torch.rand(batch, config.frames).clamp(min=0.1)
    text = torch.randn(batch, tokens, config.text_dim)
    mask = torch.ones(batch, tokens, dtype=torch.bool)
    mask[0, 3:] = False
    return latents, levels, text, mask


def test_patches_are_blocks_of_pixels_in_raster_order() -> None:
    x = torch.arange(2 * 3 * 4 * 4 * 6).view(2, 3, 4, 4, 6)
    tokens = patchify(x, (2, 2, 3))
    assert tokens.shape == (2, 2, 4, 36)
    block = x[1, :, 2:4, 2:4, 3:6]
    assert torch.equal(tokens[1, 1, 3], block.permute(1, 2, 3, 0).flatten())
    assert torch.equal(unpatchify(tokens, (2, 2, 3), x.shape), x)


@pytest.mark.parametrize("coordinates", [True, False])
@pytest.mark.parametrize("text_modulation", [True, False])
def test_untrained_network_says_zero(small_config: ModelConfig, coordinates: bool, text_modulation: bool) -> None:
    config = small_config.model_copy(
        update={"prediction": "velocity", "coordinates": coordinates, "text_modulation": text_modulation}
    )
    assert VideoDiT(config)(*_inputs(config)).abs().max() == 0


def test_untrained_blocks_are_the_identity(small_config: ModelConfig) -> None:
    model = VideoDiT(small_config)
    x, text = torch.randn(2, 3, 6, 24), torch.randn(2, 4, 24)
    rope = rope_table(small_config.head_dim, (3, 2, 3), 1e4, CPU)
    index = torch.zeros(2, 3, dtype=torch.long)
    for block in model.blocks:
        out = block(x, torch.zeros(1, 6, 24), index, rope, text, torch.ones(2, 4, dtype=torch.bool))
        assert torch.equal(out, x)


def test_clean_prediction_is_the_velocity_it_implies(small_config: ModelConfig, awake: Build) -> None:
    model = awake(small_config)
    latents, levels, text, mask = _inputs(small_config)
    emitted = model.emit(latents, levels, text, mask)
    t = levels[:, None, :, None, None]
    assert torch.allclose(model(latents, levels, text, mask), (latents - emitted) / t, atol=1e-5)


def test_modulation_by_frame_equals_modulation_by_token(small_config: ModelConfig) -> None:
    """A block against the same block written out with six modulation vectors for every single token."""
    torch.manual_seed(3)
    b, t, s, d = 2, 3, 6, small_config.width
    block = Block(d, small_config.heads, 2.0)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    x, text, mask = torch.randn(b, t, s, d), torch.randn(b, 4, d), torch.ones(b, 4, dtype=torch.bool)
    modulation, index = torch.randn(5, 6, d), torch.tensor([[0, 1, 2], [3, 3, 4]])
    rope = rope_table(small_config.head_dim, (t, 2, 3), 1e4, CPU)

    every = torch.stack([modulation[i] + block.table for i in index.repeat_interleave(s, 1).flatten()])
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = every.view(b, t * s, 6, d).unbind(2)
    flat = x.reshape(b, t * s, d)
    normed = F.layer_norm(flat, (d,)) * (1 + scale_a) + shift_a
    flat = flat + gate_a * block.attention(normed, rope)
    flat = flat + block.text_attention(block.text_norm(flat), text, mask)
    flat = flat + gate_m * block.mlp(F.layer_norm(flat, (d,)) * (1 + scale_m) + shift_m)

    assert torch.allclose(block(x, modulation, index, rope, text, mask).view(b, t * s, d), flat, atol=1e-5)


def test_levels_are_told_apart_by_clip_and_value() -> None:
    levels = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.25, 0.0]])
    values, owners, index = distinct_levels(levels)
    assert len(values) == 5
    assert torch.equal(values[index], levels)
    assert torch.equal(owners[index], torch.tensor([[0, 0, 0], [1, 1, 1]]))


@pytest.mark.parametrize("frame", [0, 2])
def test_a_frame_s_level_matters(small_config: ModelConfig, awake: Build, frame: int) -> None:
    model = awake(small_config)
    latents, levels, text, mask = _inputs(small_config)
    changed = levels.clone()
    changed[0, frame] = 0.05
    before, after = model(latents, levels, text, mask), model(latents, changed, text, mask)
    assert not torch.allclose(before[0], after[0], atol=1e-3)
    assert torch.allclose(before[1], after[1], atol=1e-5)


def test_masked_text_has_no_influence(small_config: ModelConfig, awake: Build) -> None:
    model = awake(small_config)
    latents, levels, text, mask = _inputs(small_config)
    changed = text.clone()
    changed[0, 3:] = 100 * torch.randn(2, small_config.text_dim)
    longer = torch.cat((changed, torch.randn(2, 7, small_config.text_dim)), dim=1)
    longer_mask = F.pad(mask, (0, 7))
    expected = model(latents, levels, text, mask)
    assert torch.allclose(model(latents, levels, changed, mask), expected, atol=1e-5)
    assert torch.allclose(model(latents, levels, longer, longer_mask), expected, atol=1e-5)
    assert not torch.allclose(model(latents, levels, text.flip(1), mask), expected, atol=1e-3)


def test_no_text_means_the_null_token(small_config: ModelConfig, awake: Build) -> None:
    model = awake(small_config)
    latents, levels, text, mask = _inputs(small_config)
    nothing = torch.zeros_like(mask)
    first = model(latents, levels, text, nothing)
    assert torch.allclose(model(latents, levels, torch.randn_like(text), nothing), first, atol=1e-5)
    assert not torch.allclose(model(latents, levels, text, mask), first, atol=1e-3)
    first.sum().backward()
    assert model.null_text.grad is not None
    assert model.null_text.grad.abs().max() > 0


def test_clips_of_a_batch_do_not_touch(small_config: ModelConfig, awake: Build) -> None:
    model = awake(small_config)
    latents, levels, text, mask = _inputs(small_config)
    both = model(latents, levels, text, mask)
    for i in range(2):
        alone = model(latents[i : i + 1], levels[i : i + 1], text[i : i + 1], mask[i : i + 1])
        assert torch.allclose(alone[0], both[i], atol=1e-4, rtol=1e-4)


def test_attention_is_the_textbook_formula() -> None:
    torch.manual_seed(5)
    attention = SelfAttention(24, 2)
    x, rope = torch.randn(2, 8, 24), rope_table(12, (2, 2, 2), 1e4, CPU)
    q, k, v = (part.view(2, 8, 2, 12).transpose(1, 2) for part in attention.qkv(x).chunk(3, -1))
    q, k = (apply_rope(z / (z.square().mean(-1, keepdim=True) + 1e-6).sqrt(), rope) for z in (q, k))
    weights = torch.softmax(q @ k.transpose(-1, -2) / 12**0.5, -1)
    expected = attention.out((weights @ v).transpose(1, 2).reshape(2, 8, 24))
    assert torch.allclose(attention(x, rope), expected, atol=1e-5)


def test_cross_attention_reads_only_what_the_mask_shows() -> None:
    torch.manual_seed(6)
    attention = CrossAttention(24, 2)
    x, text = torch.randn(1, 8, 24), torch.randn(1, 4, 24)
    only_second = torch.tensor([[False, True, False, False]])
    value = attention.kv(text)[:, 1, 24:]
    expected = attention.out(value).expand(1, 8, 24)
    assert torch.allclose(attention(x, text, only_second), expected, atol=1e-5)


def test_other_lengths_and_sizes_pass(small_config: ModelConfig, awake: Build) -> None:
    model = awake(small_config)
    _, _, text, mask = _inputs(small_config)
    out = model(torch.randn(2, 3, 5, 16, 4), torch.rand(2, 5), text, mask)
    assert out.shape == (2, 3, 5, 16, 4)


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("latents", (2, 4, 3, 8, 12), "give"),
        ("latents", (2, 3, 3, 9, 12), "multiples"),
        ("levels", (2, 4), "per frame"),
        ("text", (2, 5, 17), "give"),
        ("text", (2, 0, 16), "L >= 1"),
        ("mask", (2, 4), "text mask"),
    ],
)
def test_wrong_shapes_are_refused(small_config: ModelConfig, name: str, shape: tuple[int, ...], words: str) -> None:
    given = dict(zip(("latents", "levels", "text", "mask"), _inputs(small_config), strict=True))
    given[name] = torch.zeros(shape, dtype=torch.bool if name == "mask" else torch.float32)
    with pytest.raises(ShapeError, match=words):
        VideoDiT(small_config)(*given.values())


def test_tables_kept_while_sampling_can_be_trained_with() -> None:
    grid, cpu = (2, 5, 7), torch.device("cpu")
    with torch.inference_mode():
        kept = (coordinate_features(grid, cpu), *rope_table(16, grid, 123.0, cpu))
    assert not any(table.is_inference() for table in kept)
