"""One bucket of any S3, through the minio client."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit

from minio import Minio
from minio.commonconfig import REPLACE, CopySource
from minio.credentials.credentials import Credentials
from minio.credentials.providers import Provider, StaticProvider
from minio.datatypes import Object, PostPolicy
from pydantic import ValidationError

from kinema_api import conditional
from kinema_api.errors import ObjectMissing, ObjectTooLarge, RangeMissing, StorageDenied, StoreUnusable
from kinema_api.objectstore import (
    CHUNK,
    MAX_FILE_BYTES,
    MAX_LISTED,
    MAX_OBJECT_BYTES,
    PAGE,
    ObjectStat,
    PresignedUpload,
    StoreCredentials,
    StoreLocation,
    hash_of,
)
from kinema_api.storefaults import missing_bucket, no_store, storage_error, where
from kinema_api.storehttp import CALL_SECONDS, MIN_BYTES_PER_SECOND, Budget, StoreHttp, bounded, read_ca_file

CHECK_SECONDS: Final = 10.0
"""Time limit for the check whether a bucket can be used."""
MAX_COPY_SECONDS: Final = 600.0
"""Time limit for a server-side copy: the length of the object is not known beforehand."""

PART_BYTES: Final = 16 << 20
"""Length of the parts of a large upload; a store takes 10,000 of them."""
_SHA256: Final = "sha256"
"""Metadata of an object: the digest that its writer named."""

_PARTIAL: Final = 206
"""The status of an answer that holds a range."""

T = TypeVar("T")
_Headers = dict[str, str | list[str] | tuple[str]]


class FileCredentials(Provider):
    """Credentials from a file that is renewed by others (a mounted Secret)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mtime = -1.0
        self._credentials: Credentials | None = None

    def retrieve(self) -> Credentials:
        """The keys that are in the file now."""
        try:
            mtime = self._path.stat().st_mtime
            if self._credentials is None or mtime != self._mtime:
                keys = StoreCredentials.model_validate_json(self._path.read_bytes())
                self._credentials = _credentials(keys)
                self._mtime = mtime
        except (OSError, ValidationError) as error:
            raise StorageDenied(
                f"cannot read storage credentials from {self._path} ({type(error).__name__}); check the mounted Secret"
            ) from None
        return self._credentials


def _credentials(keys: StoreCredentials) -> Credentials:
    return Credentials(keys.access_key, keys.secret_key, session_token=keys.session_token)


class S3Store:
    """One bucket of an S3-compatible store."""

    def __init__(
        self, location: StoreLocation, credentials: StoreCredentials | Path, ca_file: Path | None = None
    ) -> None:
        self.location = location
        self._ca_file = ca_file
        provider: Provider
        if isinstance(credentials, Path):
            provider = FileCredentials(credentials)
        else:
            provider = StaticProvider(credentials.access_key, credentials.secret_key, credentials.session_token)
        self._provider = provider
        self._ca_time = _changed(ca_file)
        self._connect()

    def _connect(self) -> None:
        location, ca_bundle = self.location, self.location.ca_bundle
        if self._ca_file is not None and self._ca_time is not None:
            ca_bundle = read_ca_file(self._ca_file)
        self._http = StoreHttp(ca_bundle=ca_bundle)
        self._client = _client(location.endpoint, location, self._provider, self._http)
        self._public = _client(location.public_endpoint or location.endpoint, location, self._provider, self._http)

    def _follow_authorities(self) -> None:
        """Reconnect when the file of CA certificates has changed: they are renewed during a run."""
        found = _changed(self._ca_file)
        if found != self._ca_time:
            self._ca_time = found
            self._connect()

    def check(self) -> None:
        """See ObjectStore.check."""
        bucket = self.location.bucket
        if not self._call(lambda: self._client.bucket_exists(bucket_name=bucket), seconds=CHECK_SECONDS):
            raise missing_bucket(self.location)

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """See ObjectStore.put."""
        written = self._call(
            lambda: self._client.put_object(
                bucket_name=self.location.bucket,
                object_name=key,
                data=io.BytesIO(data),
                length=len(data),
                content_type=content_type,
            ),
            key,
            CALL_SECONDS + _transfer_seconds(len(data)),
        )
        if not written.etag:
            raise no_store(self.location, f"it returned no ETag when {key!r} was written")

    def put_if(self, key: str, data: bytes, etag: str | None, content_type: str = "application/octet-stream") -> str:
        """See ObjectStore.put_if."""

        def request() -> str:
            address = self.presign_put(key, timedelta(minutes=1)).partition("?")[0]
            keys = self._provider.retrieve()
            return conditional.put_if(self._http, address, self.location.region, keys, data, etag, content_type)

        return self._call(request, key, CALL_SECONDS + _transfer_seconds(len(data)))

    def put_file(self, key: str, path: Path, sha256: str | None = None) -> None:
        """See ObjectStore.put_file."""
        seconds = CALL_SECONDS + _transfer_seconds(path.stat().st_size)
        metadata: _Headers | None = {_SHA256: sha256} if sha256 else None
        written = self._call(
            lambda: self._client.fput_object(
                bucket_name=self.location.bucket,
                object_name=key,
                file_path=str(path),
                metadata=metadata,
                part_size=PART_BYTES,
            ),
            key,
            seconds,
        )
        if not written.etag:
            raise no_store(self.location, f"it returned no ETag when {key!r} was written")

    def get(self, key: str, limit: int = MAX_OBJECT_BYTES) -> bytes:
        """See ObjectStore.get."""
        return self._call(lambda: b"".join(self._chunks(key, limit)), key)

    def get_file(self, key: str, path: Path, limit: int = MAX_FILE_BYTES) -> None:
        """See ObjectStore.get_file."""

        def fetch() -> None:
            with path.open("wb") as out:
                for chunk in self._chunks(key, limit):
                    out.write(chunk)

        self._call(fetch, key)

    def get_range(self, key: str, first: int, length: int, if_etag: str | None = None) -> bytes:
        """See ObjectStore.get_range."""
        if length == 0:
            return b""
        headers: _Headers = {"If-Match": f'"{if_etag}"'} if if_etag else {}
        return self._call(
            lambda: self._range(key, first, length, headers), key, CALL_SECONDS + _transfer_seconds(length)
        )

    def stat(self, key: str) -> ObjectStat | None:
        """See ObjectStore.stat."""
        try:
            found = self._call(
                lambda: self._client.stat_object(bucket_name=self.location.bucket, object_name=key),
                key,
            )
        except ObjectMissing:
            return None
        if not found.etag:
            raise no_store(self.location, f"it returned no ETag of {key!r}")
        sha256 = (found.metadata or {}).get(f"x-amz-meta-{_SHA256}")
        return ObjectStat(key, found.size or 0, found.etag, _seconds(found.last_modified), found.content_type, sha256)

    def list(self, prefix: str, limit: int = MAX_LISTED) -> Iterator[ObjectStat]:
        """See ObjectStore.list."""

        def request() -> list[ObjectStat]:
            found: list[ObjectStat] = []
            for item in self._client.list_objects(bucket_name=self.location.bucket, prefix=prefix, recursive=True):
                if len(found) == limit:
                    raise ObjectTooLarge(f"{self.uri(prefix)} has more than {limit} objects below it; delete old ones")
                found.append(_listed(item))
            return found

        yield from self._call(request, prefix)

    def pages(self, prefix: str) -> Iterator[Sequence[ObjectStat]]:
        """See ObjectStore.pages."""
        last: str | None = None
        while page := self._call(lambda after=last: self._page(prefix, after), prefix):  # type: ignore[misc]
            yield page
            last = page[-1].key

    def copy(self, source: str, target: str, if_etag: str | None = None, content_type: str | None = None) -> None:
        """See ObjectStore.copy."""
        bucket = self.location.bucket

        def request() -> None:
            self._client.copy_object(
                bucket_name=bucket,
                object_name=target,
                source=CopySource(bucket_name=bucket, object_name=source, match_etag=if_etag),
                metadata={"Content-Type": content_type} if content_type else None,
                metadata_directive=REPLACE if content_type else None,
            )

        self._call(request, source, MAX_COPY_SECONDS)

    def delete(self, key: str) -> None:
        """See ObjectStore.delete."""
        self._call(lambda: self._client.remove_object(bucket_name=self.location.bucket, object_name=key), key)

    def sha256(self, key: str, limit: int = MAX_FILE_BYTES) -> tuple[str, int]:
        """See ObjectStore.sha256."""
        return self._call(lambda: hash_of(self._chunks(key, limit)), key)

    def presign_get(self, key: str, expires: timedelta, *, public: bool = False) -> str:
        """See ObjectStore.presign_get. Sends no request."""
        client, bucket = self._public if public else self._client, self.location.bucket
        return self._call(
            lambda: str(client.presigned_get_object(bucket_name=bucket, object_name=key, expires=expires)), key
        )

    def presign_put(self, key: str, expires: timedelta) -> str:
        """See ObjectStore.presign_put. Sends no request."""
        bucket = self.location.bucket
        return self._call(
            lambda: str(self._client.presigned_put_object(bucket_name=bucket, object_name=key, expires=expires)), key
        )

    def presign_upload(self, key: str, expires: timedelta, length: int) -> PresignedUpload:
        """See ObjectStore.presign_upload. Sends no request.

        A presigned PUT cannot limit the length, a form can.
        """
        bucket = self.location.bucket

        def sign() -> PresignedUpload:
            policy = PostPolicy(bucket, datetime.now(UTC) + expires)
            policy.add_equals_condition("key", key)
            policy.add_content_length_range_condition(length, length)
            fields = self._public.presigned_post_policy(policy)
            address = self._public.presigned_put_object(bucket_name=bucket, object_name=key, expires=expires)
            url = address.partition("?")[0].removesuffix(quote(key))
            return PresignedUpload(url, {"key": key, **fields})

        return self._call(sign, key)

    def uri(self, key: str) -> str:
        """See ObjectStore.uri."""
        return f"s3://{self.location.bucket}/{key}"

    def _page(self, prefix: str, after: str | None) -> Sequence[ObjectStat]:
        bucket = self.location.bucket
        items = self._client.list_objects(bucket_name=bucket, prefix=prefix, recursive=True, start_after=after)
        page = [_listed(item) for item in islice(items, PAGE)]
        if any(early.key >= late.key for early, late in pairwise([ObjectStat(after or "", 0, "", 0.0), *page])):
            raise no_store(self.location, "its list is not in the order of keys")
        return page

    def _range(self, key: str, first: int, length: int, headers: _Headers) -> bytes:
        response = self._client.get_object(
            bucket_name=self.location.bucket, object_name=key, offset=first, length=length, request_headers=headers
        )
        try:
            if response.status != _PARTIAL:
                raise RangeMissing(f"{where(self.location)} reads no ranges of objects; use a store that does")
            data = b"".join(bounded(response, length, self.uri(key), CHUNK))
        finally:
            response.close()
            response.release_conn()
        if len(data) != length:
            raise RangeMissing(f"{self.uri(key)} ends before byte {first + length}; write the whole object again")
        return data

    def _chunks(self, key: str, limit: int) -> Iterator[bytes]:
        response = self._client.get_object(bucket_name=self.location.bucket, object_name=key)
        try:
            announced = response.headers.get("content-length") or ""
            if (budget := Budget.current()) and announced.isdecimal():
                budget.extend(min(int(announced), limit))
            yield from bounded(response, limit, self.uri(key), CHUNK)
        finally:
            response.close()
            response.release_conn()

    def _call(self, request: Callable[[], T], key: str = "", seconds: float = CALL_SECONDS) -> T:
        """The result of `request`, which gets `seconds` and the time that its payload adds.

        Raises:
            StorageError: every failure. A store's responses are untrusted, so exceptions of libraries are converted.
        """
        with Budget(seconds) as budget:
            try:
                self._follow_authorities()
                return request()
            except Exception as error:
                try:
                    budget.check()
                except Exception as slow:
                    raise storage_error(slow, self.location, key) from None
                raise storage_error(error, self.location, key) from None


def _changed(file: Path | None) -> int | None:
    """The file's mtime in nanoseconds; None: it does not exist."""
    try:
        return file.stat().st_mtime_ns if file else None
    except OSError:
        return None


def _client(endpoint: str, location: StoreLocation, provider: Provider, http: StoreHttp) -> Minio:
    try:
        parts = urlsplit(endpoint)
        return Minio(
            endpoint=parts.netloc,
            secure=parts.scheme == "https",
            region=location.region,
            credentials=provider,
            http_client=http,
        )
    except ValueError as error:
        raise StoreUnusable(f"object store {endpoint}: {error}; correct the endpoint or the region") from None


def _listed(item: Object) -> ObjectStat:
    return ObjectStat(item.object_name or "", item.size or 0, item.etag or "", _seconds(item.last_modified))


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0


def _transfer_seconds(payload: int) -> float:
    return payload / MIN_BYTES_PER_SECOND
