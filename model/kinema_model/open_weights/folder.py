"""A folder in the diffusers format, inspected: which pipeline it is, and that its files are what its configs say.

Classes come from a list, weights from safetensors, and shapes are compared before a weight is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel
from torch import nn

from kinema_model.codec.grid import LatentGrid
from kinema_model.errors import BrokenArtefact, ConfigError
from kinema_model.network.config import CLASS_NAME, NetworkConfig
from kinema_model.open_weights.components import (
    as_module_names,
    check_module,
    make_image_encoder,
    make_network,
    make_text_encoder,
    make_vae,
    without_weights,
)
from kinema_model.open_weights.configs import (
    TEMPORAL_STRIDE,
    EulerConfig,
    ImageEncoderConfig,
    ImageProcessorConfig,
    PipelineIndex,
    TextEncoderConfig,
    UniPcConfig,
    VaeConfig,
    parse,
    read_config,
)
from kinema_model.open_weights.files import (
    ADVICE,
    MAX_JSON_BYTES,
    StoredTensor,
    check_tree,
    read_object,
    stored_tensors,
)
from kinema_model.open_weights.native import Usual, published_name, usual

INDEX_FILE: Final = "model_index.json"
TOKENIZER_FILE: Final = "tokenizer.json"
SCHEDULER_FILE: Final = "scheduler_config.json"
MAX_TOKENIZER_BYTES: Final = 4 * MAX_JSON_BYTES
OpenTask = Literal["text", "image"]
PIPELINES: Final = ("WanPipeline", "WanImageToVideoPipeline")
ALLOWED: Final[Mapping[str, tuple[str, ...]]] = {
    "transformer": (CLASS_NAME,),
    "transformer_2": (CLASS_NAME,),
    "vae": ("AutoencoderKLWan",),
    "text_encoder": ("UMT5EncoderModel",),
    "tokenizer": ("T5TokenizerFast", "T5Tokenizer"),
    "scheduler": ("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"),
    "image_encoder": ("CLIPVisionModel",),
    "image_processor": ("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil"),
}
_OPTIONAL: Final = ("transformer_2", "image_encoder", "image_processor")


@dataclass(frozen=True)
class Weights:
    """One component's folder, its module without weights, and its stored tensors under the module's names."""

    folder: Path
    module: nn.Module
    tensors: Mapping[str, StoredTensor]


@dataclass(frozen=True)
class OpenFolder:
    """A pipeline's folder whose files have been checked; no weight has been read yet.

    With a `boundary` in (0, 1) two networks denoise, one at noise levels above and one below it.
    `per_token_levels`: the tokens of a first frame have noise level 0, those of other frames the level of the step
    (Wan 2.2 TI2V).
    """

    path: Path
    pipeline: str
    boundary: float | None
    per_token_levels: bool
    network: NetworkConfig
    vae: VaeConfig
    text_encoder: TextEncoderConfig
    image_encoder: ImageEncoderConfig | None
    image_processor: ImageProcessorConfig | None
    scheduler: UniPcConfig | EulerConfig
    parts: Mapping[str, Weights]

    @property
    def tasks(self) -> tuple[OpenTask, ...]:
        """Which tasks the weights were trained for: clips from a prompt, or from a prompt and a first frame."""
        if self.per_token_levels:
            return ("text", "image")
        return ("text",) if self.network.in_channels == self.vae.z_dim else ("image",)

    @property
    def tokenizer_file(self) -> Path:
        """tokenizer.json."""
        return self.path / "tokenizer" / TOKENIZER_FILE

    @cached_property
    def grid(self) -> LatentGrid:
        """How tokens lie over frames and pixels; Wan's VAEs are causal."""
        side = self.vae.scale_factor_spatial
        return LatentGrid(self.network.patch_size, (TEMPORAL_STRIDE, side, side), causal=True)

    @property
    def experts(self) -> int:
        """Networks that denoise."""
        return 1 if self.boundary is None else 2

    @property
    def published_as(self) -> str | None:
        """Name of the published network whose shape this is."""
        return published_name(self.network, self.experts)

    @property
    def usual(self) -> Usual:
        """What a clip of these weights has where its request says nothing."""
        return usual(self.network, self.experts)


def inspect(path: Path | str, *, whole_tree: bool = True) -> OpenFolder:
    """Check a folder without loading it: some megabytes of JSON and headers are read.

    Without `whole_tree`, files that no component needs may be anything, since the caller does not use them.

    Raises `BrokenArtefact` or `ConfigError`, naming the file and field at fault and what to do about it.
    """
    path = Path(path)
    if not path.is_dir():
        raise BrokenArtefact(f"{path} is no folder. Give the folder of a pipeline, with {INDEX_FILE} in it.")
    if whole_tree:
        check_tree(path)
    fields = read_object(path / INDEX_FILE)
    pipeline = fields.get("_class_name")
    if pipeline not in PIPELINES:
        raise BrokenArtefact(f"{path / INDEX_FILE} names {pipeline!r}. Give a folder of {' or '.join(PIPELINES)}.")
    index = parse(PipelineIndex, fields, path / INDEX_FILE)
    present = _components(path / INDEX_FILE, fields)
    folder = _described(path, pipeline, index, present)
    _check_together(folder)
    return folder


def _components(where: Path, fields: Mapping[str, Any]) -> dict[str, str]:
    """The class of each component that is there, all of them from the list."""
    present = {}
    for name, classes in ALLOWED.items():
        library, found = _entry(fields.get(name))
        if found is None and name in _OPTIONAL:
            continue
        if found not in classes or library not in ("diffusers", "transformers"):
            raise BrokenArtefact(f"{where}: {name} is {fields.get(name)!r}. Give a folder with {' or '.join(classes)}.")
        present[name] = found
    for name, value in fields.items():
        if name not in ALLOWED and isinstance(value, list):
            raise BrokenArtefact(f"{where}: {name} is a component that no Wan pipeline has. Remove it.")
    return present


def _entry(value: Any) -> tuple[str | None, str | None]:
    """(library, class) of a component, (None, None) for one that is left out."""
    if value is None:
        return None, None
    if isinstance(value, list) and len(value) == 2 and all(part is None or isinstance(part, str) for part in value):
        return value[0], value[1]
    return None, repr(value)


def _described(path: Path, pipeline: str, index: PipelineIndex, present: Mapping[str, str]) -> OpenFolder:
    parts: dict[str, Weights] = {}
    networks = [name for name in ("transformer", "transformer_2") if name in present]
    configs = [_network(path / name) for name in networks]
    if (len(networks) == 2) != (index.boundary_ratio is not None):
        raise BrokenArtefact(f"{path / INDEX_FILE}: boundary_ratio and transformer_2 come together. {ADVICE}")
    if len({(c.in_channels, c.out_channels, c.text_dim, c.image_dim, c.patch_size) for c in configs}) > 1:
        raise BrokenArtefact(f"{path / 'transformer_2'} takes other inputs than {path / 'transformer'}. {ADVICE}")
    for name, config in zip(networks, configs, strict=True):
        parts[name] = _weights(path / name, "diffusion_pytorch_model", make_network, config)
    vae = read_config(VaeConfig, path / "vae", ALLOWED["vae"])
    parts["vae"] = _weights(path / "vae", "diffusion_pytorch_model", make_vae, vae)
    text = read_config(TextEncoderConfig, path / "text_encoder", ALLOWED["text_encoder"])
    parts["text_encoder"] = _weights(path / "text_encoder", "model", make_text_encoder, text)
    image = None
    if "image_encoder" in present:
        image = read_config(ImageEncoderConfig, path / "image_encoder", ALLOWED["image_encoder"])
        parts["image_encoder"] = _weights(path / "image_encoder", "model", make_image_encoder, image)
    _check_tokenizer(path / "tokenizer" / TOKENIZER_FILE)
    return OpenFolder(
        path=path,
        pipeline=pipeline,
        boundary=index.boundary_ratio,
        per_token_levels=index.expand_timesteps,
        network=configs[0],
        vae=vae,
        text_encoder=text,
        image_encoder=image,
        image_processor=_image_processor(path) if image is not None else None,
        scheduler=_scheduler(path, present["scheduler"]),
        parts=parts,
    )


def _network(folder: Path) -> NetworkConfig:
    return NetworkConfig.from_diffusers(read_object(folder / "config.json"), str(folder / "config.json"))


def _weights(folder: Path, stem: str, make: Any, config: BaseModel) -> Weights:
    module = without_weights(make, config, folder)
    tensors = as_module_names(module, stored_tensors(folder, stem))
    check_module(module, tensors, folder)
    return Weights(folder, module, tensors)


def _scheduler(path: Path, name: str) -> UniPcConfig | EulerConfig:
    if name == "UniPCMultistepScheduler":
        return read_config(UniPcConfig, path / "scheduler", (name,), SCHEDULER_FILE)
    return read_config(EulerConfig, path / "scheduler", (name,), SCHEDULER_FILE)


def _image_processor(path: Path) -> ImageProcessorConfig:
    file = path / "image_processor" / "preprocessor_config.json"
    return parse(ImageProcessorConfig, read_object(file), file)


def _check_tokenizer(file: Path) -> None:
    if not file.is_file():
        raise BrokenArtefact(f"{file} is missing, and no other kind of tokenizer is read. {ADVICE}")
    if file.stat().st_size > MAX_TOKENIZER_BYTES:
        raise BrokenArtefact(f"{file} is longer than {MAX_TOKENIZER_BYTES >> 20} MiB. {ADVICE}")


def _check_together(folder: OpenFolder) -> None:
    """What components imply of each other. Raises `ConfigError`, naming files and fields."""
    network, z = folder.network, folder.vae.z_dim
    conditioned = 2 * z + TEMPORAL_STRIDE
    wants_image = folder.pipeline == "WanImageToVideoPipeline" and not folder.per_token_levels
    expected = conditioned if wants_image else z
    where = folder.path / "transformer" / "config.json"
    if network.in_channels != expected or network.out_channels != z:
        raise ConfigError(
            f"{where}: in_channels {network.in_channels} and out_channels {network.out_channels} do not fit a "
            f"{folder.pipeline} whose vae has z_dim {z}, which takes {expected} and {z}. {ADVICE}"
        )
    if network.text_dim != folder.text_encoder.d_model:
        raise ConfigError(
            f"{where}: text_dim {network.text_dim} is not the d_model {folder.text_encoder.d_model} of text_encoder. "
            f"{ADVICE}"
        )
    width = None if folder.image_encoder is None else folder.image_encoder.hidden_size
    if network.image_dim != width:
        raise ConfigError(
            f"{where}: image_dim {network.image_dim} is not hidden_size {width} of image_encoder. {ADVICE}"
        )
    if network.patch_size[0] != 1:
        raise ConfigError(f"{where}: patch_size takes {network.patch_size[0]} latent frames. Give weights that take 1.")
