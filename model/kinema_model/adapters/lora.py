"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv:2106.09685): W x + (alpha / rank) B A x, with W as it was.

Names of their parameters are those of peft (`blocks.0.attn1.to_q.lora_A.weight`), so files pass between the two as they
are, and those of the network's own weights do not change.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from kinema_model.errors import ConfigError
from kinema_model.network.transformer import VideoTransformer

ATTENTION: Final = ("to_q", "to_k", "to_v", "to_out.0")
"""Projections of self- and cross-attention, the usual targets."""
FEED_FORWARD: Final = ("ffn.net.0.proj", "ffn.net.2")
MAX_RANK: Final = 1024
_DOWN, _UP = "lora_A", "lora_B"


@dataclass(frozen=True)
class LoraConfig:
    """Rank of the update, its scale `alpha` / `rank`, and the targets: ends of names of linear layers in blocks.

    Raises:
        ConfigError: a rank, a scale or a target that is none.
    """

    rank: int = 16
    alpha: float = 16.0
    targets: tuple[str, ...] = ATTENTION

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= MAX_RANK:
            raise ConfigError(f"lora.rank {self.rank} is out of range. Use 1 to {MAX_RANK}.")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ConfigError(f"lora.alpha {self.alpha} is no scale. Use a number above 0, such as the rank.")
        unknown = sorted(set(self.targets) - {*ATTENTION, *FEED_FORWARD})
        if unknown or not self.targets:
            known = ", ".join((*ATTENTION, *FEED_FORWARD))
            raise ConfigError(f"lora.targets {list(self.targets)} are no layers of a block. Choose of: {known}.")

    @property
    def scale(self) -> float:
        """Factor of the update."""
        return self.alpha / self.rank


def add_lora(network: VideoTransformer, config: LoraConfig) -> None:
    """Freeze the network and add adapters of its dtype and device, drawn by torch's global generator.

    B begins as zero, so the network's outputs do not change before it is trained.

    Raises:
        ConfigError: the network has adapters already, or the rank exceeds its width.
    """
    if any(True for _ in _adapted(network)):
        raise ConfigError("The network has adapters already. Merge or remove them first.")
    if config.rank > (width := network.config.width):
        raise ConfigError(f"lora.rank {config.rank} exceeds the network's width {width}. Use a smaller rank.")
    network.requires_grad_(False)
    for layer in _targets(network, config.targets):
        like = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        down, up = (
            nn.Linear(layer.in_features, config.rank, bias=False, **like),
            nn.Linear(config.rank, layer.out_features, bias=False, **like),
        )
        nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        nn.init.zeros_(up.weight)
        layer.add_module(_DOWN, down)
        layer.add_module(_UP, up)
        layer.register_forward_hook(_Update(config.scale))


def lora_state(network: VideoTransformer) -> dict[str, Tensor]:
    """Adapters by peft's names: `NAME.lora_A.weight` (rank, in) and `NAME.lora_B.weight` (out, rank)."""
    adapted = [(name, *part) for name, layer in _adapted(network) for part in _parts(layer)]
    return {f"{name}.{part}.weight": module.weight for name, part, module in adapted}


def merge_lora(network: VideoTransformer) -> None:
    """Add each update to its weight, W + (alpha / rank) B A, and remove the adapters."""
    for _, layer in list(_adapted(network)):
        (down, up), update = (module for _, module in _parts(layer)), _update_of(layer)
        with torch.no_grad():
            product = update.scale * up.weight.float() @ down.weight.float()
            layer.weight.copy_((layer.weight.float() + product).to(layer.weight.dtype))
        remove(layer)


def merged_state(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of `model` with `weights` in place of its own, and each adapter added to its layer's weight.

    The model itself stays as it is. Names are those of the model without adapters; merged weights are float32.
    """
    state = {**model.state_dict(), **weights}
    for name, layer in _adapted(model):
        down, up = (state.pop(f"{name}.{part}.weight") for part in (_DOWN, _UP))
        product = _update_of(layer).scale * up.float() @ down.float()
        state[f"{name}.weight"] = state[f"{name}.weight"].float() + product
    return state


def remove_lora(network: VideoTransformer) -> None:
    """Remove the adapters; the network is as it was before `add_lora`, and frozen."""
    for _, layer in list(_adapted(network)):
        remove(layer)


def remove(layer: nn.Linear) -> None:
    """Remove the adapter of one layer."""
    update = _update_of(layer)
    for key, hook in list(layer._forward_hooks.items()):
        if hook is update:
            del layer._forward_hooks[key]
    for part in (_DOWN, _UP):
        delattr(layer, part)


class _Update:
    """Adds the update of a layer's adapter to its output."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        (down, up) = (module for _, module in _parts(layer))
        update: Tensor = up(down(inputs[0]))
        return output + self.scale * update


def _update_of(layer: nn.Module) -> _Update:
    return next(hook for hook in layer._forward_hooks.values() if isinstance(hook, _Update))


def _parts(layer: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    for part in (_DOWN, _UP):
        module = layer.get_submodule(part)
        assert isinstance(module, nn.Linear)
        yield part, module


def _adapted(network: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear) and hasattr(module, _DOWN):
            yield name, module


def _targets(network: VideoTransformer, ends: Iterable[str]) -> list[nn.Linear]:
    suffixes = tuple(f".{end}" for end in ends)
    found = [m for name, m in network.named_modules() if name.startswith("blocks.") and name.endswith(suffixes)]
    return [module for module in found if isinstance(module, nn.Linear)]
