"""Opens an object store: any S3, or a folder for runs without a cluster."""

from __future__ import annotations

from pathlib import Path

from kinema_api.errors import StorageDenied
from kinema_api.folderstore import FolderStore
from kinema_api.objectstore import ObjectStore, StoreCredentials, StoreLocation
from kinema_api.s3store import S3Store

__all__ = ["FolderStore", "S3Store", "open_store"]


def open_store(
    location: StoreLocation, credentials: StoreCredentials | Path | None, ca_file: Path | None = None
) -> ObjectStore:
    """The store at `location`; a `Path` names a credentials file that is read again whenever it changes.

    `ca_file`, if it exists, replaces the CA certificates of the location and is read again too.

    Raises:
        StorageDenied: an S3 store without credentials.
        StoreUnusable: the endpoint, region or CA certificate is invalid.
    """
    if location.endpoint.startswith("file://"):
        return FolderStore(location)
    if credentials is None:
        raise StorageDenied(f"no credentials for {location.endpoint}: name a Secret with accessKey and secretKey")
    return S3Store(location, credentials, ca_file)
