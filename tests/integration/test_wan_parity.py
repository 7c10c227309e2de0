"""The network against diffusers' own, written by others: same weights, same inputs, same outputs and gradients.

Every weight is drawn at random, gains of norms and biases included, so that no path is silenced by an identity.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor, nn

from kinema_model.artefact import save_model
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.network.attention import Segments
from kinema_model.network.config import PUBLISHED, NetworkConfig
from kinema_model.network.folder import load_network
from kinema_model.network.pack import Box, Pack, Part, Sample, pack_samples, unpack
from kinema_model.network.position_channel import position_channel
from kinema_model.network.transformer import VideoTransformer

TOLERANCE = 2e-5
SMALL = NetworkConfig(
    num_attention_heads=4,
    attention_head_dim=24,
    in_channels=6,
    out_channels=5,
    text_dim=32,
    freq_dim=32,
    ffn_dim=200,
    num_layers=3,
)
WITH_IMAGE = SMALL.model_copy(update={"image_dim": 40, "added_kv_proj_dim": 96})
WAN_TEXT = 512
"""Wan's texts are padded with zeros to so many states, and all of them attended to; its image branch relies on it."""
SHAPES: list[tuple[int, Box]] = [(1, (1, 8, 8)), (2, (3, 4, 6)), (3, (5, 2, 4)), (2, (2, 12, 4)), (1, (9, 6, 10))]


def _awake(network: nn.Module, seed: int) -> None:
    """Draw every parameter: matrices so that a layer keeps the size of what passes, the others around 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 and "scale_shift" not in name else 0
            spread = fan_in**-0.5 if fan_in else 0.2
            parameter.uniform_(-(3**0.5) * spread, 3**0.5 * spread, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1)


def _pair(config: NetworkConfig, seed: int = 0) -> tuple[Any, VideoTransformer]:
    """Theirs and ours over the very same memory."""
    fields = config.to_diffusers()
    del fields["_class_name"]
    theirs = WanTransformer3DModel(**fields)
    _awake(theirs, seed)
    with torch.device("meta"):
        ours = VideoTransformer(config, null_text=False)
    ours.load_state_dict(dict(theirs.named_parameters()), assign=True)
    return theirs, ours


def _inputs(config: NetworkConfig, batch: int, size: Box, per_token: bool) -> dict[str, Tensor]:
    torch.manual_seed(batch)
    tokens = [n // side for n, side in zip(size, config.patch_size, strict=True)]
    length = WAN_TEXT if config.image_dim else 7
    inputs = {
        "x": torch.randn(batch, config.in_channels, *size),
        "text": torch.randn(batch, length, config.text_dim),
        "levels": torch.rand(batch, *tokens) if per_token else torch.rand(batch, 1, 1, 1).expand(batch, *tokens),
    }
    if config.image_dim:
        inputs["image"] = torch.randn(batch, 11, config.image_dim)
    return inputs


def _packed(inputs: dict[str, Tensor], patch: Box) -> Pack:
    x, levels, text = inputs["x"], inputs["levels"], inputs["text"]
    times = torch.arange(levels.shape[1])
    images = inputs.get("image", [None] * len(x))
    return pack_samples([Sample((Part(x[i], levels[i], times),), text[i], images[i]) for i in range(len(x))], patch)


def _theirs(network: Any, inputs: dict[str, Tensor], per_token: bool) -> Tensor:
    levels = inputs["levels"].flatten(1) if per_token else inputs["levels"][:, 0, 0, 0]
    dtype = network.patch_embedding.weight.dtype
    image = inputs["image"].to(dtype) if "image" in inputs else None
    out: Tensor = network(inputs["x"].to(dtype), levels * 1000, inputs["text"].to(dtype), image, return_dict=False)[0]
    return out


def _ours(network: VideoTransformer, inputs: dict[str, Tensor]) -> Tensor:
    patch = network.config.patch_size
    pack = _packed(inputs, patch)
    emitted = network(pack)
    channels_first = emitted.view(len(emitted), -1, network.config.out_channels).transpose(1, 2).flatten(1)
    return torch.stack([parts[0] for parts in unpack(channels_first, pack, patch)])


def _agree(ours: Tensor, theirs: Tensor, what: str) -> None:
    scale = float(theirs.detach().abs().max().clamp(min=1))
    assert float((ours - theirs).detach().abs().max()) <= TOLERANCE * scale, what


def _compare(config: NetworkConfig, batch: int, size: Box, per_token: bool, *, weights: bool = True) -> None:
    theirs, ours = _pair(config)
    theirs.requires_grad_(weights)
    inputs = _inputs(config, batch, size, per_token)
    inputs["x"].requires_grad_()
    inputs["text"].requires_grad_()
    expected = _theirs(theirs, inputs, per_token)
    direction = torch.randn_like(expected)
    wanted = {"x": inputs["x"], "text": inputs["text"]} | (dict(theirs.named_parameters()) if weights else {})
    gradients = torch.autograd.grad(expected, list(wanted.values()), direction)
    got = _ours(ours, inputs)
    _agree(got, expected, "output")
    mine = {"x": inputs["x"], "text": inputs["text"]} | (dict(ours.named_parameters()) if weights else {})
    for name, theirs_, ours_ in zip(
        wanted, gradients, torch.autograd.grad(got, [mine[name] for name in wanted], direction), strict=True
    ):
        _agree(ours_, theirs_, f"gradient of {name}")


@pytest.fixture(autouse=True)
def _quiet_memory() -> Iterator[None]:
    yield
    import gc

    gc.collect()


@pytest.mark.parametrize("config", [SMALL, WITH_IMAGE], ids=["text", "image"])
@pytest.mark.parametrize("per_token", [False, True], ids=["scalar", "per-token"])
@pytest.mark.parametrize(("batch", "size"), SHAPES)
def test_outputs_and_gradients_agree(config: NetworkConfig, per_token: bool, batch: int, size: Box) -> None:
    _compare(config, batch, size, per_token)


# The widest ones take as long as all else here: each is one of the small networks, or the 5B one, with more channels.
WIDEST = [pytest.param(name, marks=pytest.mark.soak) for name in ("wan2.1-t2v-14b", "wan2.1-i2v-14b")]


@pytest.mark.parametrize("name", [*WIDEST, "wan2.2-ti2v-5b"])
def test_true_widths_agree(name: str) -> None:
    config = PUBLISHED[name].model_copy(update={"num_layers": 2})
    _compare(config, 1, (2, 4, 6), per_token=name == "wan2.2-ti2v-5b", weights=False)


@pytest.mark.soak
def test_the_smallest_published_network_agrees_at_full_depth() -> None:
    _compare(PUBLISHED["wan2.1-t2v-1.3b"], 1, (2, 4, 6), per_token=False, weights=False)


@pytest.mark.parametrize("per_token", [False, True], ids=["scalar", "per-token"])
def test_half_precision_loses_no_more_than_theirs(per_token: bool) -> None:
    theirs, ours = _pair(SMALL.model_copy(update={"num_layers": 8}))
    errors: dict[str, list[float]] = {"ours": [], "theirs": []}
    full = {}
    for batch, size in SHAPES:
        with torch.no_grad():
            full[batch, size] = _theirs(theirs, _inputs(SMALL, batch, size, per_token), per_token)
    kept = {name: p.detach().clone() for name, p in theirs.named_parameters()}
    theirs.bfloat16()
    # What diffusers keeps in float32 when it loads weights in half precision; ours follows the same list.
    for name, parameter in theirs.named_parameters():
        if any(part in name for part in theirs._keep_in_fp32_modules):
            parameter.data = kept[name]
    ours.load_state_dict(dict(theirs.named_parameters()), assign=True)
    for (batch, size), exact in full.items():
        inputs = _inputs(SMALL, batch, size, per_token)
        with torch.no_grad():
            errors["theirs"].append(float((_theirs(theirs, inputs, per_token).float() - exact).square().mean()))
            half = {**inputs, "x": inputs["x"].bfloat16(), "text": inputs["text"].bfloat16()}
            errors["ours"].append(float((_ours(ours, half).float() - exact).square().mean()))
    assert sum(errors["ours"]) <= sum(errors["theirs"])


def test_a_trained_model_opens_in_diffusers_and_says_the_same(tmp_path: Path) -> None:
    config = ModelConfig.from_preset("tiny", width=24, depth=2, heads=2)
    model = VideoDenoiser(config)
    _awake(model, 5)
    save_model(tmp_path, dict(model.named_parameters()), config, "# A model")
    theirs = WanTransformer3DModel.from_pretrained(tmp_path)
    size = config.grid.latent_box(config.frames, config.height, config.width_px)
    inputs = _inputs(config.network, 2, size, per_token=False)
    latents = inputs["x"][:, : config.channels]
    pack = _packed({**inputs, "x": latents}, config.patch)
    told = position_channel(pack, config.position_channels * prod(config.patch), time=True)
    channel = torch.stack([parts[0] for parts in unpack(told, pack, config.patch)])
    expected = _theirs(theirs, {**inputs, "x": torch.cat((latents, channel), dim=1)}, per_token=False)
    levels = pack.token_levels[:, None]
    emitted = torch.stack([p[0] for p in unpack(pack.tokens - model(pack) * levels, pack, config.patch)])
    _agree(emitted, expected, "output")


def test_a_folder_written_by_diffusers_is_read_whole_and_in_shards(tmp_path: Path) -> None:
    theirs, _ = _pair(SMALL)
    theirs.save_pretrained(tmp_path / "whole")
    theirs.save_pretrained(tmp_path / "pipeline" / "transformer", max_shard_size="500KB")
    assert len(list((tmp_path / "pipeline" / "transformer").glob("*.safetensors"))) > 1
    inputs = _inputs(SMALL, 2, (3, 4, 6), per_token=False)
    for folder in ("whole", "pipeline"):
        with torch.no_grad():
            _agree(_ours(load_network(tmp_path / folder), inputs), _theirs(theirs, inputs, False), folder)


def test_segments_of_a_wan_text_hold_its_padding() -> None:
    inputs = _inputs(WITH_IMAGE, 2, (1, 4, 4), per_token=False)
    pack = _packed(inputs, WITH_IMAGE.patch_size)
    assert isinstance(pack.images, Segments)
    assert (pack.texts.lengths, pack.images.lengths) == ((WAN_TEXT, WAN_TEXT), (11, 11))
