"""How many parameters the components of an open-weights folder have, computed from their configs alone.

The control plane has no torch, so these are formulas; tests hold them against the modules themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, Final

from kinema_api.errors import BrokenFolder

Config = Mapping[str, Any]
MAX_NUMBER: Final = 1 << 24


@dataclass(frozen=True)
class Count:
    """Parameters of a component: `whole` ones keep float32 when the others are served in half precision."""

    half: int
    whole: int = 0

    @property
    def total(self) -> int:
        """All parameters."""
        return self.half + self.whole

    def bytes(self, size: int) -> int:
        """Bytes at `size` bytes for each parameter that is not kept in float32."""
        return size * self.half + 4 * self.whole


def number(config: Config, name: str, default: int | None = None) -> int:
    """A positive whole number of a config. Raises `BrokenFolder`, naming the field."""
    value = config.get(name)
    if value is None and default is not None:
        return default
    if type(value) is not int or not 0 < value <= MAX_NUMBER:
        raise BrokenFolder(
            f"a config of the folder has {name} {value!r}: give weights whose {name} is a positive number"
        )
    return value


def numbers(config: Config, name: str, default: Sequence[int]) -> list[int]:
    """A short list of positive whole numbers of a config. Raises `BrokenFolder`, naming the field."""
    values = config.get(name, default)
    if not isinstance(values, list | tuple) or not 0 < len(values) <= 16:
        raise BrokenFolder(f"a config of the folder has {name} {values!r}: give weights whose {name} is a short list")
    return [number({name: value}, name) for value in values]


def network_width(config: Config) -> int:
    """Channels of a token."""
    return number(config, "num_attention_heads") * number(config, "attention_head_dim")


def network_patch(config: Config) -> list[int]:
    """Latent frames, rows, columns of a token."""
    return numbers(config, "patch_size", (1, 2, 2))


def block_count(config: Config) -> Count:
    """One block of WanTransformer3DModel."""
    d, hidden = network_width(config), number(config, "ffn_dim")
    attention = 4 * _linear(d, d) + 2 * d
    added = 0
    if config.get("added_kv_proj_dim") is not None:
        added = 2 * _linear(number(config, "added_kv_proj_dim"), d) + d
    return Count(2 * attention + added + _linear(d, hidden) + _linear(hidden, d), whole=2 * d + 6 * d)


def around_blocks(config: Config) -> Count:
    """WanTransformer3DModel but for its blocks."""
    d, patch = network_width(config), prod(network_patch(config))
    inputs, outputs = number(config, "in_channels", 16), number(config, "out_channels", 16)
    text = number(config, "text_dim", 4096)
    half = _linear(inputs * patch, d) + _linear(d, 6 * d) + _linear(text, d) + _linear(d, d)
    half += _linear(d, outputs * patch)
    whole = _linear(number(config, "freq_dim", 256), d) + _linear(d, d) + 2 * d
    if config.get("image_dim") is not None:
        image = number(config, "image_dim")
        half += _linear(image, image) + _linear(image, d)
        whole += 2 * image + 2 * d
    return Count(half, whole)


def network_count(config: Config) -> Count:
    """WanTransformer3DModel."""
    rest, block, layers = around_blocks(config), block_count(config), number(config, "num_layers")
    return Count(rest.half + layers * block.half, rest.whole + layers * block.whole)


def text_encoder_count(config: Config) -> Count:
    """UMT5EncoderModel."""
    d, hidden, heads = (number(config, name) for name in ("d_model", "d_ff", "num_heads"))
    buckets = number(config, "relative_attention_num_buckets", 32)
    layer = 4 * d * heads * number(config, "d_kv") + buckets * heads + 3 * d * hidden + 2 * d
    return Count(number(config, "vocab_size") * d + number(config, "num_layers") * layer + d)


def image_encoder_count(config: Config) -> Count:
    """CLIPVisionModel, which is served in float32."""
    d, hidden, patch = (number(config, name) for name in ("hidden_size", "intermediate_size", "patch_size"))
    places = (number(config, "image_size") // patch) ** 2 + 1
    layer = 4 * _linear(d, d) + 4 * d + _linear(d, hidden) + _linear(hidden, d)
    return Count(0, d + 3 * patch**2 * d + places * d + 4 * d + number(config, "num_hidden_layers") * layer)


@dataclass(frozen=True)
class Stage:
    """Of a VAE's decoder: channels that its blocks take and make, and how it grows rows, columns and frames after."""

    taken: int
    made: int
    after: int
    grows: bool
    doubles_frames: bool


def decoder_stages(config: Config) -> list[Stage]:
    """The stages of AutoencoderKLWan's decoder, smallest first."""
    multiples = numbers(config, "dim_mult", (1, 2, 4, 4))
    base = number(config, "decoder_base_dim", number(config, "base_dim", 96))
    residual, doubling = bool(config.get("is_residual")), _doublings(config, multiples)[::-1]
    widths = [base * each for each in (multiples[-1], *reversed(multiples))]
    stages = []
    for place, (taken, made) in enumerate(pairwise(widths)):
        grows = place < len(multiples) - 1
        after = made if residual or not grows else made // 2
        taken = taken if residual or place == 0 else taken // 2
        stages.append(Stage(taken, made, after, grows, grows and doubling[place]))
    return stages


def vae_count(config: Config) -> Count:
    """AutoencoderKLWan."""
    z = number(config, "z_dim", 16)
    return Count(_encoder(config, z) + _decoder(config, z) + _linear(2 * z, 2 * z) + _linear(z, z))


def decoder_blocks(config: Config) -> int:
    """Residual blocks of each stage of the decoder."""
    return number(config, "num_res_blocks", 2) + 1


def _encoder(config: Config, z: int) -> int:
    multiples = numbers(config, "dim_mult", (1, 2, 4, 4))
    base, blocks = number(config, "base_dim", 96), number(config, "num_res_blocks", 2)
    halving = _doublings(config, multiples)
    widths = [base * each for each in (1, *multiples)]
    total = _conv(number(config, "in_channels", 3), widths[0])
    for place, (taken, made) in enumerate(pairwise(widths)):
        total += _residual(taken, made) + (blocks - 1) * _residual(made, made)
        if place < len(multiples) - 1:
            total += 9 * made**2 + made + (_linear(3 * made, made) if halving[place] else 0)
    return total + _middle(widths[-1]) + widths[-1] + _conv(widths[-1], 2 * z)


def _decoder(config: Config, z: int) -> int:
    stages = decoder_stages(config)
    total = _conv(z, stages[0].taken) + _middle(stages[0].taken)
    for stage in stages:
        total += _residual(stage.taken, stage.made)
        total += (decoder_blocks(config) - 1) * _residual(stage.made, stage.made)
        total += _linear(9 * stage.made, stage.after) if stage.grows else 0
        total += _linear(3 * stage.made, 2 * stage.made) if stage.doubles_frames else 0
    return total + stages[-1].made + _conv(stages[-1].made, number(config, "out_channels", 3))


def _doublings(config: Config, multiples: Sequence[int]) -> list[bool]:
    """Whether each stage but the last halves the frames, as the encoder goes."""
    values = config.get("temperal_downsample", [False, True, True])
    if not isinstance(values, list | tuple) or len(values) != len(multiples) - 1:
        raise BrokenFolder(
            "vae/config.json: temperal_downsample does not fit dim_mult: fetch a fresh copy of the folder"
        )
    return [bool(value) for value in values]


def _linear(taken: int, made: int) -> int:
    return taken * made + made


def _conv(taken: int, made: int) -> int:
    return _linear(27 * taken, made)


def _residual(taken: int, made: int) -> int:
    shortcut = 0 if taken == made else _linear(taken, made)
    return taken + _conv(taken, made) + made + _conv(made, made) + shortcut


def _middle(width: int) -> int:
    return 2 * _residual(width, width) + width + _linear(width, 3 * width) + _linear(width, width)
