"""Networks as folders in the diffusers format: config.json beside safetensors, whole or in shards.

No stored code is run: pickled weights are refused. A folder of a whole pipeline holds its network below
`transformer/`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from kinema_model.errors import BrokenArtefact
from kinema_model.network.config import NetworkConfig
from kinema_model.network.transformer import VideoTransformer

CONFIG_FILE: Final = "config.json"
WEIGHTS_FILE: Final = "diffusion_pytorch_model.safetensors"
INDEX_FILE: Final = f"{WEIGHTS_FILE}.index.json"
_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_ADVICE: Final = "Publish the model again, or fetch a fresh copy."


def load_network(folder: Path, dtype: torch.dtype = torch.float32) -> VideoTransformer:
    """The network in `folder` or in its `transformer/`, in eval mode, on the CPU, without a null token.

    Tensors are cast to `dtype` in the shapes that config.json gives. Raises `BrokenArtefact` or `ConfigError` that
    names the file at fault.
    """
    if not (folder / CONFIG_FILE).is_file() and (folder / "transformer" / CONFIG_FILE).is_file():
        folder = folder / "transformer"
    config = read_config(folder)
    weights = {name: tensor.to(dtype) for name, tensor in read_weights(folder).items()}
    with torch.device("meta"):
        network = VideoTransformer(config, null_text=False)
    check_weights(weights, network.state_dict(), folder / WEIGHTS_FILE)
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def read_config(folder: Path) -> NetworkConfig:
    """The shape that config.json gives. Raises `BrokenArtefact` or `ConfigError`, naming the file."""
    path = folder / CONFIG_FILE
    return NetworkConfig.from_diffusers(read_json(path), str(path))


def write_config(folder: Path, config: NetworkConfig) -> None:
    """Write config.json as diffusers reads it."""
    (folder / CONFIG_FILE).write_text(json.dumps(config.to_diffusers(), indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """An object from a JSON file. Raises `BrokenArtefact`, naming the file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise BrokenArtefact(f"{path} is nested too deeply to be read. {_ADVICE}") from None
    except (OSError, ValueError) as error:
        raise BrokenArtefact(f"{path} cannot be read: {error}. {_ADVICE}") from error
    if not isinstance(found, dict):
        raise BrokenArtefact(f"{path} holds no JSON object. {_ADVICE}")
    return found


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, from one file or from the shards of an index. Raises `BrokenArtefact`."""
    if (folder / WEIGHTS_FILE).is_file():
        return read_safetensors(folder / WEIGHTS_FILE)[0]
    if (folder / INDEX_FILE).is_file():
        shards = read_json(folder / INDEX_FILE).get("weight_map")
        if not isinstance(shards, dict) or any("/" in str(shard) for shard in shards.values()):
            raise BrokenArtefact(f"{folder / INDEX_FILE} does not say which file holds which tensor. {_ADVICE}")
        weights: dict[str, Tensor] = {}
        for shard in sorted({str(name) for name in shards.values()}):
            weights |= read_safetensors(folder / shard)[0]
        return weights
    refuse_pickles(folder / WEIGHTS_FILE)
    raise BrokenArtefact(f"{folder} holds neither {WEIGHTS_FILE} nor {INDEX_FILE}. {_ADVICE}")


def refuse_pickles(path: Path) -> None:
    """Raise `BrokenArtefact` where weights that should be at `path` lie beside it as a pickle instead."""
    pickles = sorted(file for file in path.parent.glob("*") if file.suffix in _PICKLES)
    if pickles and not path.is_file():
        raise BrokenArtefact(
            f"{pickles[0]} is a pickle, which can run code when it is read. Convert the weights to safetensors."
        )


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and the file's own metadata. Raises `BrokenArtefact`, naming the file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            return {name: stored.get_tensor(name) for name in stored.offset_keys()}, stored.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise BrokenArtefact(f"{path} cannot be read as safetensors: {error}. {_ADVICE}") from error


def check_weights(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Compare names, shapes, types and finiteness of weights with the state dict that is expected.

    Raises `BrokenArtefact` that names the file, the first tensor at fault, and both shapes where they differ.
    """
    if missing := sorted(expected.keys() - weights.keys()):
        raise BrokenArtefact(f"{path} lacks {missing[0]} ({len(missing)} missing in all). {_ADVICE}")
    if unknown := sorted(weights.keys() - expected.keys()):
        raise BrokenArtefact(f"{path} holds {unknown[0]}, which the config has no place for. {_ADVICE}")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            raise BrokenArtefact(
                f"{path}: {name} has shape {tuple(tensor.shape)}, the config says {tuple(expected[name].shape)}. "
                f"{_ADVICE}"
            )
        if not tensor.dtype.is_floating_point:
            raise BrokenArtefact(f"{path}: {name} is {tensor.dtype}, not floating point. {_ADVICE}")
        if not bool(torch.isfinite(tensor).all()):
            raise BrokenArtefact(f"{path}: {name} holds NaN or infinity. {_ADVICE}")
