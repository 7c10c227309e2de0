"""The world that a model was trained on, as a file beside its weights, from which evaluations make their scenes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from kinema_world.captions import COUNTS, VERBS
from kinema_world.config import WorldConfig
from kinema_world.errors import BrokenWorldFile, WorldError
from kinema_world.vocabulary import COLOURS, DIRECTIONS, SHAPES, SIZES, SPEEDS
from kinema_world.world import World

WORLD_FILE: Final = "world.json"
SCENES: Final = 2000
"""Scenes whose captions are read for the words of a world; one takes about a millisecond."""
_ADVICE: Final = "Publish the model again, or fetch a fresh copy."


def world_files(config: WorldConfig) -> Mapping[str, str]:
    """What `load_world` reads, by file name."""
    return {WORLD_FILE: config.model_dump_json(indent=2) + "\n"}


def load_world(folder: Path | str) -> WorldConfig | None:
    """The world that a model was trained on, None without such a file. Raises `BrokenWorldFile`."""
    path = Path(folder) / WORLD_FILE
    if not path.is_file():
        return None
    try:
        return WorldConfig.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise BrokenWorldFile(f"{path}: {error.errors()[0]['msg']}. {_ADVICE}") from error
    except (OSError, UnicodeDecodeError, WorldError) as error:
        raise BrokenWorldFile(f"{path}: {error} {_ADVICE}") from error


def texts_of(config: WorldConfig, scenes: int = SCENES) -> Iterator[str]:
    """Texts with every word of this world's captions: its tables of words, and the captions of its first scenes."""
    yield from (*COLOURS, *SHAPES, *SIZES, *DIRECTIONS, *SPEEDS, *COUNTS)
    for forms in VERBS.values():
        yield from forms
    made = World(config)
    for index in range(scenes):
        captions = made.scene(index).captions
        yield from (captions.short, captions.rich, *captions.shots)


def texts_beside(folder: Path | str) -> list[str]:
    """`texts_of` the world that a model was trained on; none where its file is missing or broken."""
    try:
        config = load_world(folder)
        return [] if config is None else list(texts_of(config))
    except WorldError:
        return []
