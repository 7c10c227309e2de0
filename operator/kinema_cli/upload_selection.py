"""Which files of a folder `kinema upload` takes, and what kind of folder it is.

Weights are data: files that run code when they are read (pickles, programs) are left out, whatever they are for.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError

from kinema_api import layout
from kinema_api.card import CARD, MAX_CARD_BYTES, PIPELINES, ModelCard, card_of
from kinema_api.manifest import ManifestFile
from kinema_api.wire import MAX_ORDERED_FILES
from kinema_cli.errors import BadManifest

Kind = Literal["open weights", "model", "clips"]

INDEX: Final = "model_index.json"
CONFIG: Final = "config.json"
README: Final = "README.md"
WEIGHT_SUFFIXES: Final = (".safetensors", ".json", ".txt", ".md", ".model")
_WRITTEN: Final = (layout.MANIFEST, CARD)
"""Files that the command itself writes."""
_SKIPPED_FOLDERS: Final = (".git", ".cache", "__pycache__")
_MAX_INDEX_BYTES: Final = 1 << 20
_MOST_FILES: Final = 100_000


@dataclass(frozen=True)
class Selection:
    """The files of a folder by their names relative to it, and what is left out."""

    kind: Kind
    files: dict[str, Path]
    left_out: tuple[str, ...] = ()


def select(folder: Path) -> Selection:
    """The files to upload. Raises `BadManifest` for a folder that has none, or more than can be served."""
    if not folder.is_dir():
        raise BadManifest(f"{folder} is not a folder; name the folder to upload")
    kind: Kind = "clips"
    if (folder / INDEX).is_file():
        kind = "open weights"
    elif (folder / CONFIG).is_file():
        kind = "model"
    files: dict[str, Path] = {}
    left_out = []
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        if name in _WRITTEN:
            continue
        if _taken(name, kind):
            files[name] = path
        else:
            left_out.append(name)
    if not files:
        raise BadManifest(f"{folder} has no file to upload; name the folder with the files")
    if kind != "clips" and len(files) >= MAX_ORDERED_FILES:
        raise BadManifest(f"{folder} has more than {MAX_ORDERED_FILES} files; name the folder of one model")
    return Selection(kind, files, tuple(left_out))


def _walk(folder: Path) -> list[Path]:
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
        found += (Path(parent) / name for name in sorted(names) if (Path(parent) / name).is_file())
        if len(found) > _MOST_FILES:
            raise BadManifest(f"{folder} has more than {_MOST_FILES} files; upload its folders one by one")
    return found


def _taken(name: str, kind: Kind) -> bool:
    if kind == "clips":
        return not any(part.startswith(".") for part in name.split("/"))
    try:
        ManifestFile(name=name, sha256="0" * 64, bytes=0)
    except ValidationError:
        return False
    return name.endswith(WEIGHT_SUFFIXES)


def card_without_torch(folder: Path) -> ModelCard:
    """The card of open weights, checked by names alone: each component that model_index.json names has a folder.

    Raises:
        BadManifest: model_index.json names another pipeline, or a component whose folder is missing.
    """
    index = _index(folder / INDEX)
    pipeline = index.get("_class_name")
    if pipeline not in PIPELINES:
        raise BadManifest(f"{folder / INDEX} names {pipeline!r}; name a folder of {' or '.join(PIPELINES)}")
    for name, entry in index.items():
        if isinstance(entry, list) and len(entry) == 2 and all(entry) and not (folder / name).is_dir():
            raise BadManifest(f"{folder / name} is missing, which {INDEX} names; fetch a fresh copy of the folder")
    try:
        with (folder / README).open("rb") as file:
            readme = file.read(MAX_CARD_BYTES)
    except OSError:
        readme = b""
    return card_of(readme, str(pipeline))


def _index(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_INDEX_BYTES))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadManifest(f"{path} is not a JSON object; fetch a fresh copy of the folder")
    return found
