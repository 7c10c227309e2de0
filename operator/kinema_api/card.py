"""card.json: what a folder of open weights says of itself, beside its files.

`kinema upload` writes it and the operator copies it into a VideoModel's status. It is told to users as it is, and is
untrusted: every text and list is bounded, and nothing follows from it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import yaml
from pydantic import Field

from kinema_api.base import ApiModel

CARD: Final = "card.json"
PIPELINES: Final = ("WanPipeline", "WanImageToVideoPipeline")
"""Classes of pipelines in the diffusers format that can be served; a test compares kinema_model's."""
MAX_CARD_BYTES: Final = 64 << 10
"""Longest card that is read."""
MAX_TEXT: Final = 200
MAX_ITEMS: Final = 32

_FRONT_MATTER: Final = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.S | re.M)

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Texts = Annotated[tuple[Text, ...], Field(max_length=MAX_ITEMS)]


class NativeShape(ApiModel):
    """A size and length that the weights were made for."""

    height: Annotated[int, Field(ge=1, le=1 << 16)]
    """Height in pixels."""
    width: Annotated[int, Field(ge=1, le=1 << 16)]
    """Width in pixels."""
    frames: Annotated[int, Field(ge=1, le=1 << 16)]
    """Length in frames."""
    fps: Annotated[float, Field(gt=0, le=1000)]
    """Frames per second."""


class ModelCard(ApiModel):
    """What the folder of a model states of it; fields that it does not state are absent."""

    pipeline: Text = ""
    """Class of the pipeline, as model_index.json names it."""
    tasks: Texts = ()
    """Tasks that the model makes clips for."""
    license: Text | None = None
    """Licence, as the weights' README.md names it."""
    base_model: Texts = ()
    """Models that this one was made from."""
    tags: Texts = ()
    """Tags of the weights' README.md."""
    languages: Texts = ()
    """Languages of prompts."""
    published_as: Text | None = None
    """Name of the published network whose shape this is."""
    native: Annotated[tuple[NativeShape, ...], Field(max_length=MAX_ITEMS)] = ()
    """Sizes and lengths that the model was made for, the usual one first."""


def card_of(readme: bytes, pipeline: str) -> ModelCard:
    """The card of a folder with this README.md, as far as its front matter says.

    What it says wrongly or at too great length is left out.
    """
    said = _front_matter(readme)
    return ModelCard(
        pipeline=_text(pipeline) or "",
        license=_text(said.get("license_name")) or _text(said.get("license")),
        base_model=_texts(said.get("base_model")),
        tags=_texts(said.get("tags")),
        languages=_texts(said.get("language")),
    )


def _front_matter(readme: bytes) -> dict[str, Any]:
    """The YAML between the first two lines of dashes; nothing where there is none that can be read."""
    text = readme[:MAX_CARD_BYTES].decode("utf-8", errors="replace")
    found = _FRONT_MATTER.match(text.removeprefix("\ufeff"))
    try:
        said = yaml.safe_load(found.group(1)) if found else None
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= MAX_TEXT else None


def _texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(text for text in map(_text, values[:MAX_ITEMS]) if text)
