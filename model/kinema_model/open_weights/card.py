"""What a folder of open weights says of itself: the model card's front matter, and what is known of published shapes.

A card is written by whoever made the weights and is told to users as it is, bounded in length; nothing follows from it.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kinema_model.network.config import PUBLISHED, NetworkConfig
from kinema_model.open_weights.folder import OpenFolder, OpenTask

CARD_FILE: Final = "README.md"
MAX_CARD_BYTES: Final = 64 << 10
MAX_TEXT: Final = 200
MAX_ITEMS: Final = 100
_FRONT_MATTER: Final = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.S | re.M)

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Texts = Annotated[tuple[Text, ...], Field(max_length=MAX_ITEMS)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class NativeShape(_Wire):
    """A size and length that the weights were made for: pixels, frames, frames per second."""

    height: int
    width: int
    frames: int
    fps: float


class ModelCard(_Wire):
    """What is told of a model in a resource's `status`; what nobody says is None or empty."""

    pipeline: Text
    tasks: tuple[OpenTask, ...]
    license: Text | None = None
    base_model: Texts = ()
    tags: Texts = ()
    languages: Texts = ()
    pipeline_tag: Text | None = None
    published_as: Text | None = None
    """Name of the published network whose shape this is."""
    native: tuple[NativeShape, ...] = ()
    """Sizes and lengths that the weights were made for, the usual one first; empty where they are not known."""

    def to_wire(self) -> dict[str, Any]:
        """JSON with camelCase keys, without what is not known."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _shapes(sizes: tuple[tuple[int, int], ...], frames: int, fps: float) -> tuple[NativeShape, ...]:
    return tuple(NativeShape(height=h, width=w, frames=frames, fps=fps) for h, w in sizes)


_480P: Final = ((480, 832), (832, 480))
_720P: Final = ((720, 1280), (1280, 720))
_NATIVE: Final = {
    "wan2.1-t2v-1.3b": _shapes(_480P, 81, 16),
    "wan2.1-t2v-14b": _shapes((*_720P, *_480P), 81, 16),
    "wan2.1-i2v-14b": _shapes((*_480P, *_720P), 81, 16),
    "wan2.2-a14b": _shapes((*_720P, *_480P), 81, 16),
    "wan2.2-i2v-a14b": _shapes((*_720P, *_480P), 81, 16),
    "wan2.2-ti2v-5b": _shapes(((704, 1280), (1280, 704)), 121, 24),
}


def published_name(network: NetworkConfig, experts: int) -> str | None:
    """Which of the published networks has this shape, if any; Wan 2.1 14B and an expert of Wan 2.2 share one."""
    for name, config in PUBLISHED.items():
        if config == network and ("a14b" in name) == (experts == 2):
            return name
    return None


def read_card(folder: OpenFolder) -> ModelCard:
    """The card of a checked folder. What its README.md says wrongly or at too great length is left out."""
    experts = 1 if folder.boundary is None else 2
    name = published_name(folder.network, experts)
    said = _front_matter(folder.path / CARD_FILE)
    return ModelCard(
        pipeline=folder.pipeline,
        tasks=folder.tasks,
        license=_text(said.get("license_name")) or _text(said.get("license")),
        base_model=_texts(said.get("base_model")),
        tags=_texts(said.get("tags")),
        languages=_texts(said.get("language")),
        pipeline_tag=_text(said.get("pipeline_tag")),
        published_as=name,
        native=_NATIVE.get(name or "", ()),
    )


def _front_matter(path: Path) -> dict[str, Any]:
    """The YAML between the first two lines of dashes; nothing where there is none that can be read."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CARD_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return {}
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
