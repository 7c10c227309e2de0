"""A trained model as a folder: weights, config and card, read without running stored code.

config.json and the weights beside it are in the diffusers format, so `WanTransformer3DModel.from_pretrained` opens the
folder; kinema.json holds the `ModelConfig`, null_text.safetensors the one parameter that the diffusers format lacks.
Files that describe the data, such as world.json of a world, lie beside them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from kinema_model.config import MODEL_FILE, ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.errors import BrokenArtefact, ConfigError
from kinema_model.network.folder import (
    WEIGHTS_FILE,
    check_weights,
    read_config,
    read_safetensors,
    refuse_pickles,
    write_config,
)

NULL_TEXT_FILE: Final = "null_text.safetensors"
CARD_FILE: Final = "card.md"
_NETWORK: Final = "network."
_NULL_TEXT: Final = "network.null_text"
_ADVICE: Final = "Publish the model again, or fetch a fresh copy."
# Of the tensors as they lie in the file; it travels in the weights' own header.
_DIGEST_KEY: Final = "tensors_sha256"


@dataclass(frozen=True)
class LoadedModel:
    """A model in eval mode without gradients, and its config."""

    model: VideoDenoiser
    config: ModelConfig


def save_model(
    folder: Path | str,
    model_ema_state: Mapping[str, Tensor],
    config: ModelConfig,
    card: str,
    beside: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the model's files; the folder is made where it is missing.

    `model_ema_state` has the parameters of `VideoDenoiser(config)` by name, like `Ema.shadow`; `beside` has more text
    files by name, which describe the training data. Raises `BrokenArtefact` where the parameters are not those of the
    config, or not finite, before anything is written.
    """
    target = Path(folder)
    weights = {name: t.detach().float().cpu().contiguous() for name, t in sorted(model_ema_state.items())}
    check_weights(weights, _expected(config), target / WEIGHTS_FILE)
    null_text = weights.pop(_NULL_TEXT)
    target.mkdir(parents=True, exist_ok=True)
    _save(target / WEIGHTS_FILE, {name.removeprefix(_NETWORK): tensor for name, tensor in weights.items()})
    _save(target / NULL_TEXT_FILE, {"null_text": null_text})
    write_config(target, config.network)
    (target / MODEL_FILE).write_text(config.to_json(), encoding="utf-8")
    (target / CARD_FILE).write_text(card if card.endswith("\n") else card + "\n", encoding="utf-8")
    for name, text in beside.items():
        (target / name).write_text(text, encoding="utf-8")


def load_model(folder: Path | str, device: torch.device | str = "cpu") -> LoadedModel:
    """Read what `save_model` wrote. Raises `BrokenArtefact` that names the file at fault."""
    source = Path(folder)
    config = ModelConfig.from_file(source / MODEL_FILE)
    try:
        network = read_config(source)
    except ConfigError as error:
        raise BrokenArtefact(f"{error} {_ADVICE}") from error
    if network != config.network:
        raise BrokenArtefact(f"{source}: config.json and {MODEL_FILE} describe two networks. {_ADVICE}")
    weights: dict[str, Tensor] = {}
    expected = _expected(config)
    null_text = {_NULL_TEXT: expected.pop(_NULL_TEXT)}
    for file, wanted in ((WEIGHTS_FILE, expected), (NULL_TEXT_FILE, null_text)):
        found = {_NETWORK + name: tensor for name, tensor in _load(source / file).items()}
        check_weights(found, wanted, source / file)
        weights |= found
    with torch.device("meta"):
        model = VideoDenoiser(config)
    model.load_state_dict(weights, assign=True)
    return LoadedModel(model.to(device).eval().requires_grad_(False), config)


def _expected(config: ModelConfig) -> dict[str, Tensor]:
    with torch.device("meta"):
        return VideoDenoiser(config).state_dict()


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    save_file(dict(tensors), path, metadata={"format": "pt", _DIGEST_KEY: _digest(tensors)})


def _load(path: Path) -> dict[str, Tensor]:
    refuse_pickles(path)
    tensors, metadata = read_safetensors(path)
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise BrokenArtefact(f"{path}: {name} is {tensor.dtype}, not floating point in 32 bits. {_ADVICE}")
    if metadata.get(_DIGEST_KEY) != _digest(tensors):
        raise BrokenArtefact(f"{path} does not match its digest: bytes were changed or lost. {_ADVICE}")
    return tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    whole = sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        whole.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        whole.update(tensor.contiguous().numpy().data)
    return whole.hexdigest()
