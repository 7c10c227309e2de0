"""The modules that a pipeline's configs describe, built without weights, and the names that their files use.

diffusers and transformers are imported here, when a module is built; they take seconds.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from kinema_model.errors import BrokenArtefact
from kinema_model.network.config import NetworkConfig
from kinema_model.network.transformer import VideoTransformer
from kinema_model.open_weights.configs import ImageEncoderConfig, TextEncoderConfig, VaeConfig
from kinema_model.open_weights.files import ADVICE, StoredTensor, check_shapes, first_line

_EMBEDDING: Final = "shared.weight"
_TIED: Final = "encoder.embed_tokens.weight"
_FULL_PRECISION: Final = ("time_embedder", "scale_shift_table", "norm1", "norm2", "norm3")
"""Parts of the network that diffusers keeps in float32 when it loads weights in half precision."""


def make_network(config: NetworkConfig) -> nn.Module:
    """The denoising network, without a learnt null token."""
    return VideoTransformer(config, null_text=False)


def make_vae(config: VaeConfig) -> nn.Module:
    """The VAE of Wan (arXiv:2503.20314, section 4.1)."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    vae: nn.Module = AutoencoderKLWan(**config.model_dump(mode="json"))
    return vae


def make_text_encoder(config: TextEncoderConfig) -> nn.Module:
    """The encoder of umT5 (Chung et al. 2023, arXiv:2304.09151)."""
    from transformers.models.umt5.configuration_umt5 import UMT5Config
    from transformers.models.umt5.modeling_umt5 import UMT5EncoderModel

    encoder: nn.Module = UMT5EncoderModel(UMT5Config(**config.model_dump(exclude={"model_type"})))
    return encoder


def make_image_encoder(config: ImageEncoderConfig) -> nn.Module:
    """The vision tower of CLIP (Radford et al. 2021, arXiv:2103.00020)."""
    from transformers.models.clip.configuration_clip import CLIPVisionConfig
    from transformers.models.clip.modeling_clip import CLIPVisionModel

    encoder: nn.Module = CLIPVisionModel(CLIPVisionConfig(**config.model_dump(exclude={"model_type"})))
    return encoder


def without_weights(make: Callable[[Any], nn.Module], config: Any, where: Path) -> nn.Module:
    """The module on the meta device. Raises `BrokenArtefact` for a config of which no module can be made."""
    try:
        with torch.device("meta"):
            module = make(config)
    except (ArithmeticError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise BrokenArtefact(f"{where / 'config.json'} describes no module: {first_line(error)}. {ADVICE}") from error
    return module.eval().requires_grad_(False)


def as_module_names(module: nn.Module, found: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Stored tensors under the names of the module's state dict.

    Files of older releases write the vision tower with a prefix, and an embedding that is shared once or twice.
    """
    named = {name.removeprefix("vision_model."): tensor for name, tensor in found.items()}
    if _EMBEDDING in module.state_dict():
        shared = named.pop(_TIED, None)
        if shared is not None:
            named.setdefault(_EMBEDDING, shared)
    return named


def check_module(module: nn.Module, found: Mapping[str, StoredTensor], where: Path) -> None:
    """Hold a component's files against its module. Raises `BrokenArtefact`, naming file and tensor."""
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items() if name != _TIED}
    check_shapes(found, expected, where)


def dtype_of(name: str, module: nn.Module, dtype: torch.dtype) -> torch.dtype:
    """What a parameter is kept in where the module is wanted in `dtype`, as the libraries of the format do."""
    if dtype is torch.float32:
        return dtype
    if isinstance(module, VideoTransformer):
        return torch.float32 if any(part in name for part in _FULL_PRECISION) else dtype
    # Its activations leave the range of half floats (transformers keeps the same in float32).
    overflows = dtype is torch.float16 and name.endswith(".wo.weight")
    return torch.float32 if overflows else dtype


def assign(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give a module without weights its tensors, and compute the buffers that no file holds."""
    tensors = dict(tensors)
    if _TIED in module.state_dict():
        tensors[_TIED] = tensors[_EMBEDDING]
    module.load_state_dict(tensors, assign=True)
    if _TIED in tensors:
        # One parameter again: two would become two copies on a device.
        encoder: Any = module
        encoder.encoder.embed_tokens.weight = encoder.shared.weight
    device = next(iter(tensors.values())).device
    for owner in module.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            if buffer.is_meta:
                count = buffer.shape[-1]
                owner.register_buffer(name, torch.arange(count, device=device).expand(1, -1), persistent=False)
