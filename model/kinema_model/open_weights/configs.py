"""What the configs of a pipeline's components may say, so that nothing unbounded or unknown reaches a library.

Only fields that are listed here are handed on. Everything else in a file is left unread.
"""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kinema_model.errors import BrokenArtefact
from kinema_model.open_weights.files import ADVICE, read_object

Count = Annotated[int, Field(gt=0, le=1 << 20)]
Layers = Annotated[int, Field(gt=0, le=256)]
Numbers = Annotated[tuple[float, ...], Field(max_length=1024)]
TEMPORAL_STRIDE: Final = 4


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class VaeConfig(_Config):
    """AutoencoderKLWan: latents with `z_dim` channels, 4 frames and 8 or 16 pixels a side to each."""

    base_dim: Count = 96
    decoder_base_dim: Count | None = None
    z_dim: Annotated[int, Field(gt=0, le=1024)] = 16
    dim_mult: Annotated[tuple[Annotated[int, Field(gt=0, le=64)], ...], Field(min_length=2, max_length=8)] = (
        1,
        2,
        4,
        4,
    )
    num_res_blocks: Annotated[int, Field(gt=0, le=32)] = 2
    attn_scales: Annotated[tuple[float, ...], Field(max_length=0)] = ()
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    latents_mean: Numbers
    latents_std: Numbers
    is_residual: bool = False
    in_channels: Annotated[int, Field(gt=0, le=64)] = 3
    out_channels: Annotated[int, Field(gt=0, le=64)] = 3
    patch_size: Annotated[int, Field(gt=0, le=4)] | None = None
    scale_factor_temporal: Literal[4] = 4
    scale_factor_spatial: Annotated[int, Field(gt=0, le=64)] = 8

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        patch = self.patch_size or 1
        if not len(self.latents_mean) == len(self.latents_std) == self.z_dim:
            raise ValueError(f"latents_mean and latents_std must have z_dim = {self.z_dim} numbers")
        if min(self.latents_std) <= 0:
            raise ValueError("every number of latents_std must be above 0")
        if len(self.temperal_downsample) != len(self.dim_mult) - 1:
            raise ValueError("temperal_downsample must have one entry less than dim_mult")
        if 2 ** sum(self.temperal_downsample) != TEMPORAL_STRIDE:
            raise ValueError("temperal_downsample must halve the frames twice")
        if self.scale_factor_spatial != patch * 2 ** (len(self.dim_mult) - 1):
            raise ValueError("scale_factor_spatial must be that of dim_mult and patch_size")
        if not self.in_channels == self.out_channels == 3 * patch**2:
            raise ValueError(f"in_channels and out_channels must be {3 * patch**2}, colours of one patch")
        return self


class TextEncoderConfig(_Config):
    """UMT5EncoderModel: token states `d_model` wide."""

    model_type: Literal["umt5"]
    vocab_size: Annotated[int, Field(gt=0, le=1 << 22)]
    d_model: Count
    d_kv: Count
    d_ff: Count
    num_layers: Layers
    num_heads: Count
    relative_attention_num_buckets: Annotated[int, Field(gt=0, le=4096)] = 32
    relative_attention_max_distance: Count = 128
    layer_norm_epsilon: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    feed_forward_proj: Literal["gated-gelu"] = "gated-gelu"


class ImageEncoderConfig(_Config):
    """CLIPVisionModel: states `hidden_size` wide, one per patch and one for the whole image."""

    model_type: Literal["clip_vision_model"]
    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Layers
    num_attention_heads: Count
    image_size: Annotated[int, Field(gt=0, le=4096)]
    patch_size: Annotated[int, Field(gt=0, le=4096)]
    hidden_act: Literal["gelu", "quick_gelu"] = "quick_gelu"
    layer_norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-5


Side = Annotated[int, Field(gt=0, le=4096)]


class _Size(_Config):
    shortest_edge: Side | None = None
    height: Side | None = None
    width: Side | None = None


class ImageProcessorConfig(_Config):
    """How an image is brought to the size and range of the image encoder: resized, cropped, normalised."""

    do_resize: Literal[True] = True
    size: _Size = _Size(shortest_edge=224)
    resample: Annotated[int, Field(ge=0, le=5)] = 3
    do_center_crop: bool = True
    crop_size: _Size = _Size(height=224, width=224)
    do_rescale: Literal[True] = True
    do_normalize: Literal[True] = True
    image_mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    image_std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        sides = (self.size.height, self.size.width)
        if self.size.shortest_edge is None and None in sides:
            raise ValueError("size needs shortest_edge, or height and width")
        if min(self.image_std) <= 0:
            raise ValueError("every number of image_std must be above 0")
        smallest = self.size.shortest_edge or min(side for side in sides if side)
        if self.do_center_crop and max(self.crop) > smallest:
            raise ValueError("crop_size must have height and width that size covers")
        return self

    @property
    def crop(self) -> tuple[int, int]:
        """Rows and columns that are cut out."""
        edge = self.crop_size.shortest_edge or 0
        return self.crop_size.height or edge, self.crop_size.width or edge


class _Flow(_Config):
    num_train_timesteps: Literal[1000] = 1000
    use_karras_sigmas: Literal[False, None] = False
    use_exponential_sigmas: Literal[False, None] = False
    use_beta_sigmas: Literal[False, None] = False
    use_dynamic_shifting: Literal[False, None] = False
    shift_terminal: None = None


class UniPcConfig(_Flow):
    """UniPCMultistepScheduler on flow levels (Zhao et al. 2023, arXiv:2302.04867)."""

    solver_order: Annotated[int, Field(ge=1, le=3)] = 2
    prediction_type: Literal["flow_prediction"]
    use_flow_sigmas: Literal[True]
    flow_shift: Annotated[float, Field(gt=0, le=100)] = 1.0
    predict_x0: Literal[True] = True
    solver_type: Literal["bh1", "bh2"] = "bh2"
    lower_order_final: bool = True
    disable_corrector: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=1000)] = ()
    thresholding: Literal[False] = False
    solver_p: None = None
    final_sigmas_type: Literal["zero"] = "zero"

    @property
    def shift(self) -> float:
        """How many more of the levels lie near noise."""
        return self.flow_shift


class EulerConfig(_Flow):
    """FlowMatchEulerDiscreteScheduler: Euler steps along the flow."""

    shift: Annotated[float, Field(gt=0, le=100)] = 1.0
    invert_sigmas: Literal[False, None] = False
    stochastic_sampling: Literal[False, None] = False


class PipelineIndex(_Config):
    """model_index.json, but for its components."""

    boundary_ratio: Annotated[float, Field(gt=0, lt=1)] | None = None
    expand_timesteps: bool = False


C = TypeVar("C", bound=BaseModel)


def parse(kind: type[C], fields: dict[str, Any], where: Path) -> C:
    """`fields` as a config. Raises `BrokenArtefact`, naming file and field."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "its fields"
        raise BrokenArtefact(f"{where}: {field}: {first['msg']}. Give a folder of published Wan weights.") from error


def read_config(kind: type[C], folder: Path, names: tuple[str, ...], file: str = "config.json") -> C:
    """The config of a component that must name one of these classes. Raises `BrokenArtefact`."""
    path = folder / file
    fields = read_object(path)
    if "auto_map" in fields:
        raise BrokenArtefact(f"{path}: auto_map names code of the folder, which is not run. {ADVICE}")
    named = fields.get("_class_name") or (fields.get("architectures") or [None])[0]
    if named not in names:
        raise BrokenArtefact(f"{path} names {named!r}. Give a folder whose {folder.name} is {' or '.join(names)}.")
    return parse(kind, fields, path)
