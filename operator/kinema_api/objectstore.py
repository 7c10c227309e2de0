"""The interface to object storage, implemented for S3 (with the minio client) and for a folder.

Calls block; asynchronous callers run them in threads. Every failure is a StorageError.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Protocol

from pydantic import ConfigDict, Field

from kinema_api.base import ApiModel

ENV_ENDPOINT: Final = "KINEMA_STORE_ENDPOINT"
ENV_BUCKET: Final = "KINEMA_STORE_BUCKET"
ENV_REGION: Final = "KINEMA_STORE_REGION"
ENV_CREDENTIALS: Final = "KINEMA_STORE_CREDENTIALS_FILE"
"""File with a StoreCredentials JSON; read again whenever it changes, since credentials are renewed."""

ENV_CA_FILE: Final = "KINEMA_STORE_CA_FILE"
"""File with CA certificates (PEM) to trust in addition to the system's; may be missing. Also read again on changes."""

ENV_WEAK_FENCE: Final = "KINEMA_STORE_WEAK_FENCE"
"""1: commit on a store without conditional writes too, with a gap in the fence."""


MAX_OBJECT_BYTES: Final = 16 << 20
"""Longest object that is read into memory."""
MAX_FILE_BYTES: Final = 1 << 40
"""Longest object that is streamed to a file or hashed."""
MAX_LISTED: Final = 100_000
"""Most objects that one list may have."""
PAGE: Final = 1000
"""Most objects of a page."""
CHUNK: Final = 1 << 20

StoreKey = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[!-~]+$")]
"""A key or an access key: it is sent in a header, so only visible ASCII is allowed."""


class StoreLocation(ApiModel):
    """Where a store is. `endpoint` is http(s)://host:port for S3 or file:///folder for a folder."""

    endpoint: str
    bucket: str
    public_endpoint: str | None = None
    region: str = "us-east-1"
    ca_bundle: str | None = None
    """CA certificates (PEM) to trust in addition to the system's."""


class StoreCredentials(ApiModel):
    """Keys to an S3 store; the session token marks short-lived ones."""

    # A validation error must not show a key.
    model_config = ConfigDict(hide_input_in_errors=True)

    access_key: StoreKey
    secret_key: StoreKey
    session_token: Annotated[str, Field(max_length=16384, pattern=r"^[!-~]+$")] | None = None
    expires: float | None = None
    """Seconds since the epoch."""


@dataclass(frozen=True)
class ObjectStat:
    """Metadata of one object."""

    key: str
    bytes: int
    etag: str
    modified: float
    """Seconds since the epoch."""
    content_type: str | None = None
    """The content type given by the writer; None: unknown, as in lists and folders."""
    sha256: str | None = None
    """The digest in hex that the writer named; None: unknown, as in lists and folders."""


@dataclass(frozen=True)
class PresignedUpload:
    """A POST of multipart/form-data that needs no credentials.

    Source: Amazon S3 API reference, POST Object.
    """

    url: str
    fields: Mapping[str, str]
    """Form fields that precede the field `file`."""


class ObjectStore(Protocol):
    """One bucket. Keys never start with a slash; prefixes end in one."""

    location: StoreLocation

    def check(self) -> None:
        """Raise BucketMissing, StorageDenied or StorageUnreachable unless the bucket can be used."""

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Write an object."""

    def put_if(self, key: str, data: bytes, etag: str | None, content_type: str = "application/octet-stream") -> str:
        """Write an object if its ETag is still `etag` (None: if it does not exist); its new ETag.

        Equal bytes may have equal ETags: to distinguish versions with equal contents, write a counter into them.
        If the store does not respond (StorageUnreachable), the object may have been written.

        Raises:
            StaleWrite: the object has another ETag, exists already, or is gone.
            StoreLacksConditionalWrites: the store does not know conditional writes.
        """

    def put_file(self, key: str, path: Path, sha256: str | None = None) -> None:
        """Write an object from a file, in parts if it is large. `sha256` in hex is kept beside it for `stat`."""

    def get(self, key: str, limit: int = MAX_OBJECT_BYTES) -> bytes:
        """Read an object; raises ObjectMissing, and ObjectTooLarge above `limit` bytes."""

    def get_file(self, key: str, path: Path, limit: int = MAX_FILE_BYTES) -> None:
        """Read an object into a file; raises ObjectMissing, and ObjectTooLarge above `limit` bytes."""

    def get_range(self, key: str, first: int, length: int, if_etag: str | None = None) -> bytes:
        """The `length` bytes of an object from byte `first` on; with `if_etag` only of that version.

        Raises:
            ObjectMissing: there is no such object.
            RangeMissing: the object ends before them, or the store reads no ranges.
            StaleWrite: it is not that version any more.
        """

    def stat(self, key: str) -> ObjectStat | None:
        """Metadata of an object, or None if it does not exist."""

    def list(self, prefix: str, limit: int = MAX_LISTED) -> Iterator[ObjectStat]:
        """All objects below a prefix, in the order of their keys; raises ObjectTooLarge above `limit` of them."""

    def pages(self, prefix: str) -> Iterator[Sequence[ObjectStat]]:
        """All objects below a prefix, in the order of their keys, at most PAGE at a time, however many there are.

        A page is asked for when the one before has been used, and each has a time limit of its own.
        """

    def copy(self, source: str, target: str, if_etag: str | None = None, content_type: str | None = None) -> None:
        """Copy within the bucket, server side; with `if_etag` only if the source still has that ETag.

        The copy has `content_type`, or else that of the source.

        Raises:
            ObjectMissing: there is no source.
            StaleWrite: the source has another ETag.
        """

    def delete(self, key: str) -> None:
        """Delete an object; no error if there is none."""

    def sha256(self, key: str, limit: int = MAX_FILE_BYTES) -> tuple[str, int]:
        """(hex digest, length) of an object's bytes, streamed; raises ObjectMissing, ObjectTooLarge above `limit`."""

    def presign_get(self, key: str, expires: timedelta, *, public: bool = False) -> str:
        """A presigned URL that reads this object; `public`: for clients outside the cluster."""

    def presign_put(self, key: str, expires: timedelta) -> str:
        """A presigned URL that writes this object."""

    def presign_upload(self, key: str, expires: timedelta, length: int) -> PresignedUpload:
        """A form with which clients outside the cluster upload this object, of exactly `length` bytes.

        Raises:
            StorageError: the store does not support it.
        """

    def uri(self, key: str) -> str:
        """s3://bucket/key or file:///folder/bucket/key."""


def hash_of(chunks: Iterable[bytes]) -> tuple[str, int]:
    """(sha256 in hex, length) of a stream of bytes."""
    digest, length = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        length += len(chunk)
    return digest.hexdigest(), length
