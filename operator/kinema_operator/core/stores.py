"""The object store of a spec, and the reasons of its errors. Pure; `storage.py` opens stores."""

from __future__ import annotations

from typing import Final

from kinema_api import layout
from kinema_api.base import ArtifactStore
from kinema_api.errors import StorageDenied, StorageError
from kinema_api.objectstore import StoreLocation
from kinema_api.prefix_uri import bucket_and_prefix
from kinema_operator.core.settings import Settings

SECRETS_ROLE: Final = "kinema-operator-secrets"
"""ClusterRole that lets the operator read Secrets, bound in namespaces with stores of their own."""


class FolderNotAllowed(StorageError):
    """A spec names a folder that its namespace may not read."""


def folder_prefix(uri: str, namespace: str, bucket: str, artifact_store: ArtifactStore | None) -> str:
    """The prefix of a folder that a spec names, in the spec's store, whose bucket is `bucket`.

    The operator's keys give access to the artefacts of every namespace: without a store of its own (None) a spec may
    only name folders that are its namespace's, or shared.

    Raises:
        FolderNotAllowed: it is another bucket, or a folder that is not for this namespace.
    """
    named, prefix = bucket_and_prefix(uri)
    if named != bucket:
        raise FolderNotAllowed(f"{uri} is not in the bucket {bucket!r} of the model's store; name a folder of it")
    allowed = layout.readable_prefixes(namespace)
    if artifact_store is None and not prefix.startswith(allowed):
        raise FolderNotAllowed(
            f"{uri} does not belong to this namespace; upload it below {' or '.join(allowed)} in the bucket, and "
            "correct the uri"
        )
    return prefix


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
