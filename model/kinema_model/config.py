"""The config of a model as data, so that a run, an artefact and a server agree on the model."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kinema_model.codec.grid import CODECS, CodecName, LatentGrid
from kinema_model.conditions.tasks import Task
from kinema_model.errors import BrokenArtefact, ConfigError, ShapeError, UnknownPreset, reasons
from kinema_model.network.config import NetworkConfig

MODEL_FILE: Final = "kinema.json"
MOST_SHIFT: Final = 5.0
"""The shift that Wan 2.1 uses for its largest clips (arXiv:2503.20314)."""


# Four octaves of three axes, as sines and cosines.
_POSITION_FEATURES: Final = 24
_CODEC_FIELDS: Final[dict[str, dict[str, Any]]] = {
    # Few numbers a token: their noise is as easy to carry as the clip, and they reveal less of it at each level.
    "world": {"prediction": "velocity", "level_shift": 1.5},
}


class StreamingConfig(BaseModel):
    """How a model generates a clip of open length: chunk by chunk, each attending to earlier chunks only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chunk_frames: int = Field(gt=0, description="frames that are denoised together")
    window_chunks: int = Field(gt=0, description="chunks before its own that a chunk attends to")
    context_level: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="noise level of finished chunks in the attention context, which keeps errors from accumulating",
    )
    reference_frames: int = Field(
        default=1,
        ge=0,
        description="first frames of a shot that stay in the attention context after they have left the window",
    )


class ModelConfig(BaseModel):
    """A network, its parameterisation, and the default shape of its clips.

    Sizes are in pixels of the decoded clip, rates in frames per second.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    network: NetworkConfig
    codec: CodecName = "pixel"
    places: Literal["none", "space", "space-time"] = Field(
        default="none", description="channels beside the latents that tell each token's absolute place in the clip"
    )
    reference_fps: float = Field(
        default=8.0, gt=0, description="frames per second at which one frame is one step of the rotary time axis"
    )
    prediction: Literal["velocity", "clean"] = Field(
        default="velocity",
        description="what the last layer emits; the model's output is a velocity either way",
    )
    level_shift: float = Field(
        default=1.0, gt=0, description="how far levels lean towards noise for a clip of the default shape"
    )
    tasks: tuple[Task, ...] = Field(default=(Task.TEXT,), description="what the model was trained for")
    rates: tuple[int, ...] = Field(
        default=(), description="frames per second that it was trained at; none: those of its own clip alone"
    )
    streaming: StreamingConfig | None = Field(default=None, description="None: not trained for clips of open length")
    frames: int = Field(gt=0)
    height: int = Field(gt=0)
    width_px: int = Field(gt=0)
    fps: int = Field(gt=0)
    max_frames: int = Field(default=64, gt=0)
    max_side: int = Field(default=256, gt=0, description="largest height or width in pixels")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.grid.whole_frames(self.frames) != self.frames:
            raise ValueError(f"frames {self.frames} are no whole tokens: use {self.grid.describe()}")
        for name, size, side in (
            ("height", self.height, self.grid.cell[1]),
            ("width_px", self.width_px, self.grid.cell[2]),
        ):
            if size % side:
                raise ValueError(f"{name} {size} must be a multiple of the {side} pixels of a token")
        if self.frames > self.max_frames or max(self.height, self.width_px) > self.max_side:
            raise ValueError("the default clip must be within max_frames and max_side; raise the limits")
        if (self.position_channels > 0) != (self.places != "none") or self.position_channels < 0:
            raise ValueError("network.in_channels must be the latents' channels, and more only where places are told")
        if self.rates and (self.fps not in self.rates or min(self.rates) < 1):
            raise ValueError(
                f"rates {list(self.rates)} must be above 0 and have the clip's own, {self.fps}, among them"
            )
        if self.streaming is not None:
            self._check_streaming(self.streaming)
        return self

    def _check_streaming(self, streaming: StreamingConfig) -> None:
        if self.places == "space-time":
            raise ValueError("streaming has no end to scale time by; set places to 'space' or 'none'")
        if self.grid.causal:
            raise ValueError(f"streaming needs a codec that is not causal; the codec {self.codec!r} is")
        if streaming.chunk_frames % self.grid.cell[0]:
            raise ValueError(
                f"streaming.chunk_frames {streaming.chunk_frames} must be a multiple of the {self.grid.cell[0]} frames "
                "of a token"
            )
        if streaming.reference_frames > streaming.chunk_frames:
            raise ValueError("streaming.reference_frames must not exceed streaming.chunk_frames")

    @property
    def grid(self) -> LatentGrid:
        """How tokens lie over the frames and pixels of a clip."""
        codec = CODECS[self.codec]
        return LatentGrid(self.patch, codec.strides, codec.causal)

    @property
    def patch(self) -> tuple[int, int, int]:
        """Latent frames, rows and columns of one token."""
        return self.network.patch_size

    @property
    def channels(self) -> int:
        """Channels of a latent frame."""
        return self.network.out_channels

    @property
    def position_channels(self) -> int:
        """Channels beside the latents that tell places."""
        return self.network.in_channels - self.channels

    @property
    def tokens_per_clip(self) -> int:
        """Tokens of a clip of the default shape."""
        return self.grid.tokens(self.frames, self.height, self.width_px)

    def rows_for(self, seconds: float, fps: int | None = None) -> int:
        """Token rows nearest to so many seconds at `fps` (None: the model's own rate), at least 1."""
        return self.grid.rows_for(seconds, fps or self.fps)

    @property
    def least_rows(self) -> int:
        """Token rows of the shortest clip: 2 where one row is a picture that the model was not trained on, else 1."""
        one_frame = self.grid.frames_of(1) == 1
        return 2 if one_frame and Task.PICTURE not in self.tasks and self.frames > 1 else 1

    def rate(self, fps: int | None) -> int:
        """`fps`, or the model's own rate for None. Raises `ShapeError` for a rate that the model was not trained at."""
        known = self.rates or (self.fps,)
        if fps is not None and fps not in known:
            rates = " or ".join(map(str, known))
            raise ShapeError(
                f"fps {fps} does not fit this model, which was trained at {rates} frames per second. Use that."
            )
        return fps or self.fps

    def shift_for(self, tokens: int) -> float:
        """The shift of levels for so many tokens; it grows with their square root (arXiv:2403.03206, 5.3.2).

        It ends at `MOST_SHIFT`, or at the model's own: the last step of sampling would begin at a level that was
        hardly trained.
        """
        most = max(MOST_SHIFT, self.level_shift)
        return min(max(1.0, self.level_shift * math.sqrt(tokens / self.tokens_per_clip)), most)

    @classmethod
    def from_preset(
        cls, name: str, *, width: int | None = None, depth: int | None = None, heads: int | None = None, **fields: Any
    ) -> "ModelConfig":
        """The preset `name` with another width, depth, number of heads or other fields.

        With another `codec`, patches are of as many pixels as before, and what is learnt of latents is as
        `_CODEC_FIELDS` says. Raises `UnknownPreset` for a name that does not exist, `ConfigError` for changes that do
        not fit.
        """
        if name not in PRESETS:
            known = ", ".join(sorted(PRESETS))
            raise UnknownPreset(f"There is no preset {name!r}. Choose one of: {known}.")
        preset = PRESETS[name].model_dump()
        preset["network"] = _resized(preset["network"], width, depth, heads)
        codec = fields.get("codec", preset["codec"])
        if codec in CODECS and codec != preset["codec"]:
            preset |= {**_CODEC_FIELDS.get(codec, {}), "network": _on_latents(preset["network"], codec)}
        return _validated({**preset, **fields}, f"preset {name!r}")

    def with_fields(self, **fields: Any) -> "ModelConfig":
        """This config with other fields, but for the network's. Raises `ConfigError` for fields that do not fit."""
        return _validated(
            {**self.model_dump(exclude={"network"}), "network": self.network, **fields}, "model.overrides"
        )

    def to_json(self) -> str:
        """The content of `kinema.json`."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "ModelConfig":
        """The config that `to_json` wrote. Raises `ConfigError`, naming the fields that do not fit."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ConfigError(reasons(error, MODEL_FILE)) from error

    @classmethod
    def from_file(cls, path: Path) -> "ModelConfig":
        """Read `kinema.json`. Raises `BrokenArtefact` that names the file."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ConfigError) as error:
            raise BrokenArtefact(f"{path}: {error} Publish the model again.") from error


def _resized(network: Mapping[str, Any], width: int | None, depth: int | None, heads: int | None) -> dict[str, Any]:
    """The network's fields at another width, with the same ratio of feed-forward to width."""
    heads = network["num_attention_heads"] if heads is None else heads
    old = network["num_attention_heads"] * network["attention_head_dim"]
    width = old if width is None else width
    if width % heads:
        raise ConfigError(f"width {width} is not a multiple of {heads} heads. Choose a width that is.")
    return {
        **network,
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "ffn_dim": network["ffn_dim"] * width // old,
        "num_layers": network["num_layers"] if depth is None else depth,
    }


def _on_latents(network: Mapping[str, Any], codec: CodecName) -> dict[str, Any]:
    """The network's fields for latents of a codec, where they were for pixels.

    Raises `ConfigError` where patches are no whole latents.
    """
    shape, patch = CODECS[codec], network["patch_size"]
    if any(side % stride for side, stride in zip(patch, shape.strides, strict=True)):
        raise ConfigError(
            f"codec {codec!r} makes a latent of {shape.strides} pixels, of which the preset's patches of {patch} hold "
            "no whole number. Choose another codec."
        )
    patches = tuple(side // stride for side, stride in zip(patch, shape.strides, strict=True))
    positions = -(-_POSITION_FEATURES // math.prod(patches))
    return {
        **network,
        "patch_size": patches,
        "in_channels": shape.channels + positions,
        "out_channels": shape.channels,
    }


def _validated(fields: Mapping[str, Any], what: str) -> ModelConfig:
    try:
        return ModelConfig.model_validate(dict(fields))
    except ValidationError as error:
        raise ConfigError(reasons(error, what)) from error


def _world_network(width: int, depth: int, heads: int) -> NetworkConfig:
    """A network for pixels of the world in patches of 8 x 8, told places by one channel beside the three."""
    return NetworkConfig(
        patch_size=(1, 8, 8),
        num_attention_heads=heads,
        attention_head_dim=width // heads,
        in_channels=4,
        out_channels=3,
        text_dim=384,
        ffn_dim=4 * width,
        num_layers=depth,
    )


PRESETS: Final[dict[str, ModelConfig]] = {
    # Learns the synthetic world on two CPU cores in minutes; see docs/world.md for the measured curve.
    "tiny": ModelConfig(
        preset="tiny",
        network=_world_network(128, 4, 4),
        places="space-time",
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
        network=_world_network(384, 12, 6),
        places="space-time",
        prediction="clean",
        level_shift=3.0,
        frames=16,
        height=64,
        width_px=64,
        fps=8,
    ),
}
