"""Adapters as files that diffusers and peft read and write: safetensors, with rank and alpha in the metadata."""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from kinema_model.adapters.lora import ATTENTION, FEED_FORWARD, LoraConfig, add_lora, lora_state, remove_lora
from kinema_model.errors import BrokenArtefact, ConfigError
from kinema_model.network.folder import check_weights, read_safetensors, refuse_pickles
from kinema_model.network.transformer import VideoTransformer

LORA_FILE: Final = "pytorch_lora_weights.safetensors"
_BASE: Final = "kinema_base"
_METADATA: Final = "lora_adapter_metadata"
_ADVICE: Final = "Use an adapter that was trained for these weights."
_LARGEST_NUMBERS: Final = 1 << 32


def save_lora(
    folder: Path, adapters: Mapping[str, VideoTransformer | Mapping[str, Tensor]], config: LoraConfig, base: str = ""
) -> Path:
    """Write the adapters of a pipeline, such as {"transformer": network} or its `lora_state`; the file's path.

    `base` is the digest of the model that they are for. diffusers' `load_lora_weights` reads the folder.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    metadata: dict[str, Any] = {}
    for component, adapter in adapters.items():
        state = lora_state(adapter) if isinstance(adapter, VideoTransformer) else adapter
        tensors |= {f"{component}.{name}": t.detach().float().cpu().contiguous() for name, t in state.items()}
        metadata |= {f"{component}.{name}": value for name, value in _as_peft(config).items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LORA_FILE
    about = {"format": "pt", _METADATA: json.dumps(metadata, sort_keys=True)} | ({_BASE: base} if base else {})
    save_file(tensors, path, metadata=about)
    return path


def load_lora(path: Path, network: VideoTransformer, component: str = "transformer", base: str = "") -> LoraConfig:
    """Add the adapters of a file to a network without any. Names may have a `lora_down`/`lora_up` form or a suffix.

    `base` is the digest of the network's model, if it is known. Without alpha in the file it is the rank, as in
    diffusers.

    Raises:
        BrokenArtefact: the file is damaged, has no adapter for this component, or is for other weights; names the
            tensor or the base at fault.
    """
    refuse_pickles(path)
    tensors, header = read_safetensors(path)
    if base and (other := header.get(_BASE, base)) != base:
        raise BrokenArtefact(f"{path} is an adapter of the model {other}, and this is {base}. {_ADVICE}")
    own = {_plain(name.removeprefix(f"{component}.")): t for name, t in tensors.items() if _belongs(name, component)}
    alphas = {name: own.pop(name) for name in [*own] if name.endswith(".alpha")}
    if not own:
        raise BrokenArtefact(f"{path} has no adapter of {component!r}. {_ADVICE}")
    config = _config_of(path, own, alphas, _metadata(path, header), component)
    add_lora(network, config)
    expected = lora_state(network)
    try:
        check_weights(own, expected, path)
    except BrokenArtefact:
        remove_lora(network)
        raise
    for name, parameter in expected.items():
        parameter.data.copy_(own[name])
    return config


def _as_peft(config: LoraConfig) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "r": config.rank,
        "lora_alpha": config.alpha,
        "target_modules": sorted(config.targets),
        "bias": "none",
        "use_dora": False,
        "use_rslora": False,
    }


def _belongs(name: str, component: str) -> bool:
    return name.startswith((f"{component}.", "blocks."))


def _plain(name: str) -> str:
    """peft's name of a tensor that others name in another way."""
    for theirs, ours in (("lora_down", "lora_A"), ("lora_up", "lora_B"), (".default.weight", ".weight")):
        name = name.replace(theirs, ours)
    return name


def _metadata(path: Path, header: Mapping[str, str]) -> dict[str, Any]:
    try:
        found = json.loads(header.get(_METADATA, "{}"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BrokenArtefact(f"{path}: {_METADATA} in the header is no JSON object. {_ADVICE}")
    return found


def _config_of(
    path: Path, own: Mapping[str, Tensor], alphas: Mapping[str, Tensor], metadata: Mapping[str, Any], component: str
) -> LoraConfig:
    ranks = {len(tensor) for name, tensor in own.items() if name.endswith(".lora_A.weight")}
    if len(ranks) != 1 or sum(prod(t.shape) for t in own.values()) > _LARGEST_NUMBERS:
        raise BrokenArtefact(f"{path}: adapters have the ranks {sorted(ranks)}, and one is supported. {_ADVICE}")
    (rank,) = ranks
    # A file of one network has its options without a prefix.
    own_options = {name.removeprefix(f"{component}."): value for name, value in metadata.items()}
    for name in ("use_dora", "use_rslora"):
        if own_options.get(name):
            raise BrokenArtefact(f"{path}: {name} is set in the header, which is not supported. {_ADVICE}")
    stated = {float(value) for value in alphas.values()} or {own_options.get("lora_alpha", rank)}
    if len(stated) != 1 or not isinstance(alpha := next(iter(stated)), int | float):
        found = sorted(map(str, stated))
        raise BrokenArtefact(f"{path}: adapters have the alphas {found}, and one is supported. {_ADVICE}")
    targets = tuple(
        end for end in (*ATTENTION, *FEED_FORWARD) if any(name.endswith(f".{end}.lora_A.weight") for name in own)
    )
    try:
        return LoraConfig(rank, float(alpha), targets)
    except ConfigError as error:
        raise BrokenArtefact(f"{path}: {error}") from error
