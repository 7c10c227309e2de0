"""The Secret with a training's short-lived storage credentials: made of fresh keys, hence by an effect, not a plan."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from kinema_api import names
from kinema_api.objectstore import StoreCredentials, StoreLocation
from kinema_api.training import VideoModelTraining
from kinema_operator.training import ownership

ANNOTATION_EXPIRES: Final = f"{names.GROUP}/expires"
ANNOTATION_STORE: Final = f"{names.GROUP}/store"
ANNOTATION_MODEL: Final = f"{names.GROUP}/model-digest"


def storage_secret(
    training: VideoModelTraining, location: StoreLocation, credentials: StoreCredentials, publishes: str | None = None
) -> dict[str, Any]:
    """The Secret that trainers mount, or the pod that publishes the model of the digest `publishes`.

    A renewal reaches running pods through the mounted file.
    """
    name = secret_name(training, publishes)
    metadata = ownership.metadata(training, name, ownership.labels(training, names.COMPONENT_TRAINER))
    metadata["annotations"] = {
        ANNOTATION_EXPIRES: datetime.fromtimestamp(credentials.expires or 0, UTC).isoformat(),
        ANNOTATION_STORE: _store(location),
    }
    if publishes:
        metadata["annotations"][ANNOTATION_MODEL] = publishes
    content = credentials.model_dump_json(by_alias=True, exclude_none=True)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "data": {names.STORAGE_CREDENTIALS_KEY: base64.b64encode(content.encode()).decode()},
    }


def secret_name(training: VideoModelTraining, publishes: str | None) -> str:
    """Name of the Secret that trainers mount, or the pod that publishes."""
    name = training.metadata.name
    return names.publication_secret_name(name) if publishes else names.storage_secret_name(name)


def expiry(
    secret: Mapping[str, Any] | None,
    training: VideoModelTraining,
    location: StoreLocation,
    publishes: str | None = None,
) -> datetime | None:
    """When the credentials in a Secret run out; None if it holds none for this training, and model, at this store."""
    if secret is None:
        return None
    metadata = secret["metadata"]
    annotations = metadata.get("annotations") or {}
    owners = {reference["uid"] for reference in metadata.get("ownerReferences") or ()}
    if training.metadata.uid not in owners or annotations.get(ANNOTATION_STORE) != _store(location):
        return None
    if annotations.get(ANNOTATION_MODEL) != publishes:
        return None
    try:
        return datetime.fromisoformat(annotations[ANNOTATION_EXPIRES])
    except (KeyError, ValueError):
        return None


def _store(location: StoreLocation) -> str:
    return f"{location.endpoint}/{location.bucket}"
