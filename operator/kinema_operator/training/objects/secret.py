"""The Secret with a training's short-lived storage credentials. An effect creates it, since a plan has no keys."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from kinema_api import names
from kinema_api.objectstore import StoreCredentials, StoreLocation
from kinema_api.training import VideoModelTraining
from kinema_operator.training.objects import ownership

ANNOTATION_EXPIRES: Final = f"{names.GROUP}/expires"
ANNOTATION_STORE: Final = f"{names.GROUP}/store"
ANNOTATION_CA: Final = f"{names.GROUP}/ca-digest"
ANNOTATION_MODEL: Final = f"{names.GROUP}/model-digest"


def storage_secret(
    training: VideoModelTraining, location: StoreLocation, credentials: StoreCredentials, publishes: str | None = None
) -> dict[str, Any]:
    """The Secret for the trainers, or for the publisher of the model with the digest `publishes`.

    It also has the CA certificates for the store. A renewal reaches running pods through the mounted files.
    """
    name = secret_name(training, publishes)
    metadata = ownership.metadata(training, name, ownership.labels(training, names.COMPONENT_TRAINER))
    metadata["annotations"] = {
        ANNOTATION_EXPIRES: datetime.fromtimestamp(credentials.expires or 0, UTC).isoformat(),
        ANNOTATION_STORE: _store(location),
    }
    if authorities := _authorities(location):
        metadata["annotations"][ANNOTATION_CA] = authorities
    if publishes:
        metadata["annotations"][ANNOTATION_MODEL] = publishes
    content = {names.STORAGE_CREDENTIALS_KEY: credentials.model_dump_json(by_alias=True, exclude_none=True)}
    if location.ca_bundle:
        content[names.STORAGE_CA_KEY] = location.ca_bundle
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in content.items()},
    }


def secret_name(training: VideoModelTraining, publishes: str | None) -> str:
    """Name of the Secret of the trainers, or of the publisher."""
    name = training.metadata.name
    return names.publication_secret_name(name) if publishes else names.storage_secret_name(name)


def expiry(
    secret: Mapping[str, Any] | None,
    training: VideoModelTraining,
    location: StoreLocation,
    publishes: str | None = None,
) -> datetime | None:
    """When the credentials in a Secret expire; None if new ones are needed.

    That is, if they are for another training, model or store, or the store's CA certificates have changed.
    """
    if secret is None:
        return None
    metadata = secret["metadata"]
    annotations = metadata.get("annotations") or {}
    owners = {reference["uid"] for reference in metadata.get("ownerReferences") or ()}
    if training.metadata.uid not in owners or annotations.get(ANNOTATION_STORE) != _store(location):
        return None
    if annotations.get(ANNOTATION_MODEL) != publishes or annotations.get(ANNOTATION_CA) != _authorities(location):
        return None
    try:
        return datetime.fromisoformat(annotations[ANNOTATION_EXPIRES])
    except (KeyError, ValueError):
        return None


def _authorities(location: StoreLocation) -> str | None:
    return hashlib.sha256(location.ca_bundle.encode()).hexdigest() if location.ca_bundle else None


def _store(location: StoreLocation) -> str:
    return f"{location.endpoint}/{location.bucket}"
