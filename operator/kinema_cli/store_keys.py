"""The user's own keys to an object store: the command reads no Secret of the cluster."""

from __future__ import annotations

import os
from typing import Final

from kinema_api.objectstore import StoreCredentials
from kinema_cli.errors import BadManifest

_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def credentials(endpoint: str) -> StoreCredentials | None:
    """Keys from the environment; None for a folder as a store.

    Raises:
        BadManifest: a variable is not set.
        ValidationError: a key is none.
    """
    if endpoint.startswith("file://"):
        return None
    missing = [name for name in _KEYS if not os.environ.get(name)]
    if missing:
        raise BadManifest(f"{' and '.join(missing)} is not set; set your own keys to the store in the environment")
    token = os.environ.get("AWS_SESSION_TOKEN") or None
    return StoreCredentials(access_key=os.environ[_KEYS[0]], secret_key=os.environ[_KEYS[1]], session_token=token)
