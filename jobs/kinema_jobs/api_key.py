"""The key of an API from a file: read anew for each use, so that a renewed Secret counts at once, and never logged."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kinema_jobs.errors import ApiKeyUnusable

MAX_KEY_BYTES: Final = 1 << 13


def read_api_key(path: Path) -> str:
    """The only word of a file. Raises `ApiKeyUnusable`."""
    try:
        with path.open("rb") as file:
            key = file.read(MAX_KEY_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise ApiKeyUnusable(path, "the key's file cannot be read") from None
    if not key.isprintable() or len(key.split()) != 1:
        raise ApiKeyUnusable(path, "the key's file does not hold one word")
    return key
