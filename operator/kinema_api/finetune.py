"""Training that begins with the weights of a model: which model, and what of it is trained."""

from __future__ import annotations

from operator import mul
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from kinema_api.base import MESSAGE_ERROR, ApiModel, Digest, ResourceName, Uri, cel_rules
from kinema_api.data import MAX_CLIP_FRAMES, MAX_CLIP_SIDE
from kinema_api.prefix_uri import PrefixUri
from kinema_api.prepare import ClipTarget

ONE_BASE: Final = "initFrom has exactly one of digest, model and folder: keep one"

LoraTarget = Literal["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]
"""Ends of the names of linear layers in a block, as peft names them."""
ALL_TARGETS: Final[tuple[LoraTarget, ...]] = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")


class InitFrom(ApiModel):
    """The model whose weights a run begins with: exactly one of the fields. It is resolved once, when the run
    begins."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            ("[has(self.digest), has(self.model), has(self.folder)].filter(given, given).size() == 1", ONE_BASE)
        )
    )

    digest: Digest | None = None
    """Digest of a model that was published to the training's store."""
    model: ResourceName | None = None
    """A VideoModel of the same namespace and store; the run begins with the model that it serves at that time."""
    folder: PrefixUri | None = None
    """A folder of weights with a manifest, as `kinema upload` writes it, in the training's store. In the operator's
    own store, only prefixes below inputs/NAMESPACE/ and shared/ are allowed."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if [self.digest, self.model, self.folder].count(None) != 2:
            raise PydanticCustomError(MESSAGE_ERROR, ONE_BASE)
        return self


class Lora(ApiModel):
    """Low-rank adapters (arXiv:2106.09685): the base is frozen, and W + (alpha / rank) B A takes the place of W."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rows of A and columns of B; at most the network's width."""
    alpha: Annotated[float, Field(gt=0, le=65536)] | None = None
    """Scale of the update; default: the rank, so that the update is B A."""
    targets: Annotated[tuple[LoraTarget, ...], Field(min_length=1, max_length=len(ALL_TARGETS))] = ALL_TARGETS
    """Layers of each block that have an adapter: projections of self- and cross-attention and of the feed-forward."""

    @property
    def scale(self) -> float:
        """`alpha`, or its default."""
        return self.rank if self.alpha is None else self.alpha


class BaseClip(ApiModel):
    """The shape of a model's own clip."""

    frames: Annotated[int, Field(ge=1, le=MAX_CLIP_FRAMES)]
    """Frames."""
    pixels: Annotated[int, Field(ge=1, le=MAX_CLIP_SIDE**2)]
    """Area of a frame."""
    fps: Annotated[float, Field(gt=0, le=1000)]
    """Frames per second."""
    cell: Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_CLIP_SIDE)], ...], Field(min_length=3, max_length=3)]
    """Frames, rows and columns of which clips are a multiple."""

    @property
    def target(self) -> ClipTarget:
        """The same for what prepares clips."""
        frames, rows, columns = self.cell
        return ClipTarget(frames=self.frames, pixels=self.pixels, fps=self.fps, cell=(frames, rows, columns))


CODEC_STRIDES: Final = {"pixel": (1, 1, 1), "unshuffle": (4, 2, 2), "world": (1, 8, 8)}
"""Frames, rows and columns of a latent by codec, as kinema_model.codec.grid.CODECS."""
MODEL_CONFIG: Final = "kinema.json"
"""The file of a model's folder that holds its config."""
MAX_MODEL_CONFIG_BYTES: Final = 1 << 16


class _Network(BaseModel):
    patch_size: Annotated[tuple[int, ...], Field(min_length=3, max_length=3)]


class _ModelConfig(BaseModel):
    """What of a model's config the control plane reads."""

    frames: int
    height: int
    width_px: int
    fps: float
    codec: str = "pixel"
    network: _Network


def base_clip(config: bytes) -> BaseClip:
    """The shape of a model's own clip, from its MODEL_CONFIG, which is not trusted.

    Raises:
        ValueError: it is no config of a model, or of one that this version does not know.
    """
    found = _ModelConfig.model_validate_json(config)
    if found.codec not in CODEC_STRIDES:
        raise ValueError(f"codec {found.codec[:64]!r} is not known")
    cell = tuple(map(mul, CODEC_STRIDES[found.codec], found.network.patch_size))
    return BaseClip(frames=found.frames, pixels=found.height * found.width_px, fps=found.fps, cell=cell)


class BaseStatus(ApiModel):
    """The model that a run began with."""

    digest: Digest
    """Digest of the model: the SHA-256 of its manifest."""
    uri: Uri
    """Folder of its manifest."""
    clip: BaseClip
    """The shape of its own clip, which recorded clips are packed to."""


class RunBase(ApiModel):
    """The same for a trainer: where the files lie in its store."""

    digest: Digest
    prefix: str
    """Key prefix of the manifest and its files, ending in a slash."""
