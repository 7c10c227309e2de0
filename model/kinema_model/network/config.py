"""The shape of a network, in the words of the diffusers format, so that open weights load as they are.

Field names and meanings are those of `WanTransformer3DModel`'s config.json; the published shapes are those of
Wan 2.1 (arXiv:2503.20314) and Wan 2.2.
"""

from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kinema_model.errors import ConfigError, reasons

CLASS_NAME: Final = "WanTransformer3DModel"
_SMALLEST_HEAD: Final = 6  # three rotary axes, each at least one pair of channels


class NetworkConfig(BaseModel):
    """Hyper-parameters of a `VideoTransformer`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch_size: tuple[int, int, int] = Field(default=(1, 2, 2), description="latent frames, rows, columns of a token")
    num_attention_heads: int = Field(gt=0)
    attention_head_dim: int = Field(gt=0)
    in_channels: int = Field(default=16, gt=0)
    out_channels: int = Field(default=16, gt=0)
    text_dim: int = Field(default=4096, gt=0)
    freq_dim: int = Field(default=256, gt=0, multiple_of=2, description="sinusoidal features of a noise level")
    ffn_dim: int = Field(gt=0)
    num_layers: int = Field(gt=0, le=1024, description="no more than can be built in seconds to be looked at")
    cross_attn_norm: Literal[True] = True
    qk_norm: Literal["rms_norm_across_heads"] = "rms_norm_across_heads"
    eps: float = Field(default=1e-6, gt=0)
    image_dim: int | None = Field(default=None, gt=0, description="width of image states, for image-to-video weights")
    added_kv_proj_dim: int | None = Field(default=None, gt=0)
    rope_max_seq_len: int = Field(default=1024, gt=0)
    pos_embed_seq_len: None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.attention_head_dim % 2 or self.attention_head_dim < _SMALLEST_HEAD:
            raise ValueError(f"attention_head_dim must be even and at least {_SMALLEST_HEAD}")
        if min(self.patch_size) < 1:
            raise ValueError("every side of patch_size must be at least 1")
        if (self.image_dim is None) != (self.added_kv_proj_dim is None):
            raise ValueError("image_dim and added_kv_proj_dim come together or not at all")
        if self.added_kv_proj_dim not in (None, self.width):
            raise ValueError(f"added_kv_proj_dim must be the width, {self.width}")
        return self

    @property
    def width(self) -> int:
        """Channels of a token."""
        return self.num_attention_heads * self.attention_head_dim

    def to_diffusers(self) -> dict[str, Any]:
        """What `WanTransformer3DModel.from_pretrained` reads from config.json."""
        return {"_class_name": CLASS_NAME, **self.model_dump(mode="json")}

    @classmethod
    def from_diffusers(cls, fields: dict[str, Any], where: str) -> "NetworkConfig":
        """Raises `ConfigError` that names `where` and the field, for another class or a shape not supported."""
        if (found := fields.get("_class_name")) != CLASS_NAME:
            raise ConfigError(f"{where} describes {found!r}. Give a folder of {CLASS_NAME}.")
        # Files of older releases hold fields that no released weights use, and leave others out.
        known = {name: value for name, value in fields.items() if name in cls.model_fields}
        try:
            return cls.model_validate(known)
        except ValidationError as error:
            raise ConfigError(reasons(error, where)) from error


def _wan(heads: int, ffn: int, layers: int, **others: Any) -> NetworkConfig:
    return NetworkConfig(num_attention_heads=heads, attention_head_dim=128, ffn_dim=ffn, num_layers=layers, **others)


PUBLISHED: Final[dict[str, NetworkConfig]] = {
    "wan2.1-t2v-1.3b": _wan(12, 8960, 30),
    "wan2.1-t2v-14b": _wan(40, 13824, 40),
    "wan2.1-i2v-14b": _wan(40, 13824, 40, in_channels=36, image_dim=1280, added_kv_proj_dim=5120),
    "wan2.2-a14b": _wan(40, 13824, 40),
    "wan2.2-i2v-a14b": _wan(40, 13824, 40, in_channels=36),
    "wan2.2-ti2v-5b": _wan(24, 14336, 30, in_channels=48, out_channels=48),
}
"""Networks of open weights; each `a14b` is two of them, one for high and one for low noise levels."""
