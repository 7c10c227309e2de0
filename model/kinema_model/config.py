"""The shape of a model as data, so that a run, an artefact and a server agree on what the model is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kinema_model.errors import BrokenArtefact, ConfigError, UnknownPreset

CONFIG_FILE: Final = "config.json"
_SMALLEST_HEAD: Final = 6  # three rotary axes, each at least one pair of channels


class ModelConfig(BaseModel):
    """Hyper-parameters of a `VideoDiT` and the clip it draws when nothing else is asked for.

    Sizes are pixels of the decoded clip; `patch` counts latent frames, rows and columns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    width: int = Field(gt=0, description="channels of a token")
    depth: int = Field(gt=0, description="number of transformer blocks")
    heads: int = Field(gt=0)
    mlp_ratio: float = Field(gt=0)
    patch: tuple[int, int, int] = Field(description="latent frames, rows and columns of one token")
    channels: int = Field(default=3, gt=0, description="channels of a latent frame")
    text_dim: int = Field(default=384, gt=0)
    time_dim: int = Field(default=256, gt=0, multiple_of=2, description="sinusoidal features of a noise level")
    rope_theta: float = Field(default=10_000.0, gt=1)
    coordinates: bool = Field(default=False, description="add each token's absolute place in the clip to its embedding")
    text_modulation: bool = Field(
        default=False, description="modulate by the pooled text too, not by the noise level alone"
    )
    prediction: Literal["velocity", "clean"] = Field(
        default="velocity",
        description="what the last layer emits; the model's output is a velocity either way",
    )
    level_shift: float = Field(
        default=1.0, gt=0, description="how far the levels in training and sampling lean towards noise"
    )
    codec: Literal["pixel"] = "pixel"
    frames: int = Field(gt=0)
    height: int = Field(gt=0)
    width_px: int = Field(gt=0)
    fps: int = Field(gt=0)
    max_frames: int = Field(default=64, gt=0)
    max_side: int = Field(default=256, gt=0, description="largest height or width in pixels")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads or self.head_dim % 2 or self.head_dim < _SMALLEST_HEAD:
            raise ValueError(
                f"width {self.width} over {self.heads} heads must give an even head size of at least "
                f"{_SMALLEST_HEAD}; choose a width that is a multiple of {2 * self.heads}"
            )
        if min(self.patch) < 1:
            raise ValueError("every side of patch must be at least 1")
        for name, size, side in zip(
            ("frames", "height", "width_px"),
            (self.frames, self.height, self.width_px),
            self.patch,
            strict=True,
        ):
            if size % side:
                raise ValueError(f"{name} {size} must be a multiple of the patch side {side}")
        if self.frames > self.max_frames or max(self.height, self.width_px) > self.max_side:
            raise ValueError("the default clip must be within max_frames and max_side; raise the limits")
        return self

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def tokens_per_clip(self) -> int:
        """Tokens of a clip of the default shape."""
        pt, ph, pw = self.patch
        return (self.frames // pt) * (self.height // ph) * (self.width_px // pw)

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> "ModelConfig":
        """The preset `name` with some fields replaced.

        Raises `UnknownPreset` for a name that does not exist, `ConfigError` for overrides that do not fit.
        """
        if name not in PRESETS:
            known = ", ".join(sorted(PRESETS))
            raise UnknownPreset(f"There is no preset {name!r}. Choose one of: {known}.")
        return _validated({**PRESETS[name].model_dump(), **overrides}, f"preset {name!r}")

    def to_json(self) -> str:
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "ModelConfig":
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ConfigError(_reasons(error, CONFIG_FILE)) from error

    @classmethod
    def from_file(cls, path: Path) -> "ModelConfig":
        """Read `config.json`. Raises `BrokenArtefact` that names the file."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ConfigError) as error:
            raise BrokenArtefact(f"{path}: {error} Publish the model again.") from error


def _validated(fields: Mapping[str, Any], what: str) -> ModelConfig:
    try:
        return ModelConfig.model_validate(dict(fields))
    except ValidationError as error:
        raise ConfigError(_reasons(error, what)) from error


def _reasons(error: ValidationError, what: str) -> str:
    parts = (f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}" for item in error.errors())
    return f"{what} does not make a model: {'; '.join(parts)}. Correct these fields."


PRESETS: Final[dict[str, ModelConfig]] = {
    # Learns the synthetic world on two CPU cores in minutes; see docs/model.md for the measured curve.
    "tiny": ModelConfig(
        preset="tiny",
        width=128,
        depth=4,
        heads=4,
        mlp_ratio=4.0,
        patch=(1, 8, 8),
        coordinates=True,
        text_modulation=True,
        prediction="clean",
        level_shift=2.0,
        frames=8,
        height=24,
        width_px=24,
        fps=8,
    ),
    # One workstation GPU: the same world at a size where shapes have clean edges.
    "small": ModelConfig(
        preset="small",
        width=384,
        depth=12,
        heads=6,
        mlp_ratio=4.0,
        patch=(1, 8, 8),
        coordinates=True,
        text_modulation=True,
        prediction="clean",
        level_shift=3.0,
        frames=16,
        height=64,
        width_px=64,
        fps=8,
    ),
}
