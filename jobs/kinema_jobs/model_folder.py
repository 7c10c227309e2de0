"""A model as files in a folder: verifying them against the manifest, and finding the folder."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from kinema_api.errors import BrokenManifest
from kinema_api.layout import MANIFEST
from kinema_api.manifest import Manifest, ManifestFile
from kinema_jobs.errors import ModelNotFound, ModelUnusable

CONFIG: Final = "config.json"
"""Of a model that Kinema trained."""
READERS: Final = 4
"""Files hashed at a time: one thread rarely fills a disk."""
INDEX: Final = "model_index.json"
"""Of open weights."""


def is_open(folder: Path) -> bool:
    """Whether a folder holds open weights in the diffusers format, rather than a model that Kinema trained."""
    return (folder / INDEX).is_file()


def check_name(name: str) -> None:
    """Raise `ModelUnusable` for a name that would leave the folder or hide the manifest."""
    if name == MANIFEST or {"", ".", ".."} & set(name.split("/")) or "\\" in name:
        raise ModelUnusable(f"the manifest names a file {name!r}: publish the model again with plain file names.")


def check_file(path: Path, promised: ManifestFile) -> None:
    """Raise `ModelUnusable` unless the file matches the manifest."""
    if sha256_of(path) != promised.sha256:
        raise ModelUnusable(f"{promised.name} does not match its sha256 in the manifest: publish the model again.")


def sha256_of(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_folder(folder: Path) -> str | None:
    """The digest of the model in `folder` after every file was checked; None if it has no manifest.

    Raises:
        ModelUnusable: a file is missing or does not match the manifest; the message names it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    data = path.read_bytes()
    try:
        manifest = Manifest.from_bytes(data, str(path))
    except BrokenManifest as error:
        raise ModelUnusable(str(error)) from None
    for file in manifest.files:
        check_name(file.name)
        if not (folder / file.name).is_file():
            raise ModelUnusable(f"{folder / file.name} is missing: publish the model again.")
    with ThreadPoolExecutor(READERS) as readers:
        list(readers.map(lambda file: check_file(folder / file.name, file), manifest.files))
    return "sha256:" + hashlib.sha256(data).hexdigest()


def find_model(place: Path) -> Path:
    """The folder of a model: `place` itself, or the newest one published below it (a folder used as a store).

    Raises:
        ModelNotFound: there is none.
    """
    if (place / CONFIG).is_file() or is_open(place):
        return place
    published = [p.parent for p in place.glob(f"**/models/*/{MANIFEST}")]
    if not published:
        raise ModelNotFound(
            f"no model lies in {place}: name a folder with {CONFIG} or {INDEX}, or train and publish one first."
        )
    return max(published, key=lambda folder: (folder / MANIFEST).stat().st_mtime)
