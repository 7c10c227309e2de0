"""The object store of a spec, and the reasons of its errors. Pure; `storage.py` opens stores."""

from __future__ import annotations

from typing import Final

from kinema_api.base import ArtifactStore
from kinema_api.errors import StorageDenied, StorageError
from kinema_api.objectstore import StoreLocation
from kinema_operator.core.settings import Settings

SECRETS_ROLE: Final = "kinema-operator-secrets"
"""ClusterRole that lets the operator read Secrets, bound in namespaces with stores of their own."""


def storage_reason(error: StorageError) -> str:
    """The reason of a condition for an error of a store."""
    return "StorageFailed" if type(error) is StorageError else type(error).__name__


def store_location(artifact_store: ArtifactStore | None, settings: Settings) -> StoreLocation:
    """Location of the store of a spec, or else of the operator's store.

    Raises:
        StorageDenied: there is neither.
    """
    if artifact_store:
        own = artifact_store.endpoint == settings.store_endpoint
        return StoreLocation(
            endpoint=artifact_store.endpoint,
            public_endpoint=artifact_store.public_endpoint,
            bucket=artifact_store.bucket,
            region=artifact_store.region,
            ca_bundle=artifact_store.ca_bundle or (settings.store_ca_bundle if own else None),
        )
    if not settings.store_endpoint:
        raise StorageDenied(
            "the operator has no object store: set KINEMA_STORE_ENDPOINT (objectStore in the chart's values) "
            "or give spec.artifactStore"
        )
    return StoreLocation(
        endpoint=settings.store_endpoint,
        public_endpoint=settings.store_public_endpoint,
        bucket=settings.store_bucket,
        region=settings.store_region,
        ca_bundle=settings.store_ca_bundle,
    )
