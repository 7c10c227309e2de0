"""The Secret with a training's short-lived storage credentials. An effect creates it, since a plan has no keys."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from kinema_api import names
from kinema_api.objectstore import StoreCredentials, StoreLocation
from kinema_api.training import VideoModelTraining
from kinema_operator.training import scope
from kinema_operator.training.objects import ownership
from kinema_operator.training.scope import Scope

ANNOTATION_EXPIRES: Final = f"{names.GROUP}/expires"
ANNOTATION_STORE: Final = f"{names.GROUP}/store"
ANNOTATION_CA: Final = f"{names.GROUP}/ca-digest"
ANNOTATION_MODEL: Final = f"{names.GROUP}/model-digest"
ANNOTATION_SCOPE: Final = f"{names.GROUP}/scope"
"""Digest of what the keys allow, where that depends on more than names."""


@dataclass(frozen=True)
class Holder:
    """Whose keys a Secret has: by default the trainers'."""

    publishes: str | None = None
    """Those of the publisher of the model with this digest."""
    prepares: bool = False
    """Those of the pods that prepare clips."""


TRAINERS: Final = Holder()


def scope_for(training: VideoModelTraining, holder: Holder) -> Scope:
    """What the keys allow."""
    if holder.prepares:
        return scope.of_preparers(training)
    return scope.of_publisher(training, holder.publishes) if holder.publishes else scope.of_trainers(training)


def storage_secret(
    training: VideoModelTraining,
    location: StoreLocation,
    credentials: StoreCredentials,
    holder: Holder = TRAINERS,
    captioner_key: str = "",
) -> dict[str, Any]:
    """The Secret with a holder's keys, and the key of a captioning endpoint if there is one.

    It also has the CA certificates for the store. A renewal reaches running pods through the mounted files.
    """
    name = secret_name(training, holder)
    metadata = ownership.metadata(training, name, ownership.labels(training, names.COMPONENT_TRAINER))
    metadata["annotations"] = {
        ANNOTATION_EXPIRES: datetime.fromtimestamp(credentials.expires or 0, UTC).isoformat(),
        ANNOTATION_STORE: _store(location),
    }
    if authorities := _authorities(location):
        metadata["annotations"][ANNOTATION_CA] = authorities
    if holder.publishes:
        metadata["annotations"][ANNOTATION_MODEL] = holder.publishes
    if scoped := _scope(training, holder):
        metadata["annotations"][ANNOTATION_SCOPE] = scoped
    content = {names.STORAGE_CREDENTIALS_KEY: credentials.model_dump_json(by_alias=True, exclude_none=True)}
    if location.ca_bundle:
        content[names.STORAGE_CA_KEY] = location.ca_bundle
    if captioner_key:
        content[names.STORAGE_CAPTIONER_KEY] = captioner_key
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in content.items()},
    }


def secret_name(training: VideoModelTraining, holder: Holder) -> str:
    """Name of the Secret of a holder."""
    name = training.metadata.name
    if holder.prepares:
        return names.preparation_secret_name(name)
    return names.publication_secret_name(name) if holder.publishes else names.storage_secret_name(name)


def expiry(
    secret: Mapping[str, Any] | None,
    training: VideoModelTraining,
    location: StoreLocation,
    holder: Holder = TRAINERS,
) -> datetime | None:
    """When the credentials in a Secret expire; None if new ones are needed.

    That is, if they are for another training, model, store or scope, or the store's CA certificates have changed.
    """
    if secret is None:
        return None
    metadata = secret["metadata"]
    annotations = metadata.get("annotations") or {}
    owners = {reference["uid"] for reference in metadata.get("ownerReferences") or ()}
    if training.metadata.uid not in owners or annotations.get(ANNOTATION_STORE) != _store(location):
        return None
    if annotations.get(ANNOTATION_SCOPE) != _scope(training, holder):
        return None
    if annotations.get(ANNOTATION_MODEL) != holder.publishes or annotations.get(ANNOTATION_CA) != _authorities(
        location
    ):
        return None
    try:
        return datetime.fromisoformat(annotations[ANNOTATION_EXPIRES])
    except (KeyError, ValueError):
        return None


def _authorities(location: StoreLocation) -> str | None:
    return hashlib.sha256(location.ca_bundle.encode()).hexdigest() if location.ca_bundle else None


def _scope(training: VideoModelTraining, holder: Holder) -> str | None:
    """None where names alone make the scope, as in Secrets of older versions."""
    found = scope_for(training, holder)
    return found.digest if found.read or found.browse else None


def _store(location: StoreLocation) -> str:
    return f"{location.endpoint}/{location.bucket}"
