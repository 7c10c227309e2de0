"""A trained model as a folder: weights, config and card, read without running anything that was stored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from kinema_model.config import CONFIG_FILE, ModelConfig
from kinema_model.dit import VideoDiT
from kinema_model.errors import BrokenArtefact

WEIGHTS_FILE: Final = "model.safetensors"
CARD_FILE: Final = "card.md"
_ADVICE: Final = "Publish the model again, or fetch a fresh copy."
# Of the tensors as they lie in the file; it travels in the weights' own header.
_DIGEST_KEY: Final = "tensors_sha256"


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to sample from, on the CPU unless told otherwise, and the config it was built by."""

    model: VideoDiT
    config: ModelConfig


def save_model(folder: Path | str, model_ema_state: Mapping[str, Tensor], config: ModelConfig, card: str) -> None:
    """Write model.safetensors, config.json and card.md; the folder is made where it is missing.

    `model_ema_state` holds the parameters of `VideoDiT(config)` by name, as `Ema.shadow` does. Raises
    `BrokenArtefact` where they are not those of the config, or not finite, before anything is written.
    """
    from safetensors.torch import save_file

    target = Path(folder)
    weights = {name: t.detach().float().cpu().contiguous() for name, t in sorted(model_ema_state.items())}
    _check_weights(weights, config, target / WEIGHTS_FILE)
    target.mkdir(parents=True, exist_ok=True)
    save_file(weights, target / WEIGHTS_FILE, metadata={"format": "pt", _DIGEST_KEY: _digest(weights)})
    (target / CONFIG_FILE).write_text(config.to_json(), encoding="utf-8")
    (target / CARD_FILE).write_text(card if card.endswith("\n") else card + "\n", encoding="utf-8")


def load_model(folder: Path | str, device: torch.device | str = "cpu") -> LoadedModel:
    """Read what `save_model` wrote. Raises `BrokenArtefact` that names the file at fault."""
    source = Path(folder)
    config = ModelConfig.from_file(source / CONFIG_FILE)
    path = source / WEIGHTS_FILE
    weights, digest = _read(path)
    _check_weights(weights, config, path)
    if digest != _digest(weights):
        raise BrokenArtefact(f"{path} does not match its digest: bytes were changed or lost. {_ADVICE}")
    model = VideoDiT(config)
    model.load_state_dict(weights)
    return LoadedModel(model.to(device).eval().requires_grad_(False), config)


def _read(path: Path) -> tuple[dict[str, Tensor], str | None]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            weights = {name: stored.get_tensor(name) for name in stored.offset_keys()}
    except (OSError, SafetensorError) as error:
        raise BrokenArtefact(f"{path} cannot be read as safetensors: {error}. {_ADVICE}") from error
    return weights, metadata.get(_DIGEST_KEY)


def _digest(weights: Mapping[str, Tensor]) -> str:
    whole = sha256()
    for name in sorted(weights):
        tensor = weights[name]
        whole.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        whole.update(tensor.contiguous().numpy().data)
    return whole.hexdigest()


def _check_weights(weights: Mapping[str, Tensor], config: ModelConfig, path: Path) -> None:
    """Names, shapes, types and finiteness against the network that the config describes."""
    expected = {name: tuple(p.shape) for name, p in VideoDiT(config).named_parameters()}
    if missing := sorted(expected.keys() - weights.keys()):
        raise BrokenArtefact(f"{path} lacks {missing[0]} ({len(missing)} missing in all). {_ADVICE}")
    if unknown := sorted(weights.keys() - expected.keys()):
        raise BrokenArtefact(f"{path} holds {unknown[0]}, which the config has no place for. {_ADVICE}")
    for name, tensor in weights.items():
        if tuple(tensor.shape) != expected[name]:
            raise BrokenArtefact(
                f"{path}: {name} has shape {tuple(tensor.shape)}, the config says {expected[name]}. {_ADVICE}"
            )
        if not tensor.dtype.is_floating_point:
            raise BrokenArtefact(f"{path}: {name} is {tensor.dtype}, not floating point. {_ADVICE}")
        if not bool(torch.isfinite(tensor).all()):
            raise BrokenArtefact(f"{path}: {name} holds NaN or infinity. {_ADVICE}")
