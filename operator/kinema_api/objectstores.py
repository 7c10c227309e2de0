"""The two object stores: any S3 through the minio client, and a folder for runs without a cluster."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NoReturn, TypeVar
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.commonconfig import CopySource
from minio.credentials.credentials import Credentials
from minio.credentials.providers import Provider, StaticProvider
from minio.error import InvalidResponseError, S3Error, ServerError
from pydantic import ValidationError

from kinema_api import conditional
from kinema_api.errors import (
    BucketMissing,
    ObjectMissing,
    StaleWrite,
    StorageDenied,
    StorageError,
    StorageUnreachable,
)
from kinema_api.objectstore import ObjectStat, ObjectStore, StoreCredentials, StoreLocation

CHUNK: Final = 1 << 20
HASHED_BYTES: Final = 64 << 10
"""A file of a folder store is known by its contents up to this size, by its time and length above."""
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 60.0
_DENIED: Final = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidTokenId"}

T = TypeVar("T")


def open_store(location: StoreLocation, credentials: StoreCredentials | Path | None) -> ObjectStore:
    """The store at `location`; a `Path` names a credentials file that is read again whenever it changes."""
    if location.endpoint.startswith("file://"):
        return FolderStore(location)
    if credentials is None:
        raise StorageDenied(f"no credentials for {location.endpoint}: name a Secret with accessKey and secretKey")
    return S3Store(location, credentials)


class FileCredentials(Provider):
    """Credentials from a file that somebody else renews (a mounted Secret)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mtime = -1.0
        self._credentials: Credentials | None = None

    def retrieve(self) -> Credentials:
        """The keys now in the file."""
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

    def __init__(self, location: StoreLocation, credentials: StoreCredentials | Path) -> None:
        self.location = location
        provider: Provider
        if isinstance(credentials, Path):
            provider = FileCredentials(credentials)
        else:
            provider = StaticProvider(credentials.access_key, credentials.secret_key, credentials.session_token)
        self._provider = provider
        self._http = _http()
        self._client = _client(location.endpoint, location.region, provider, self._http)
        self._public = _client(location.public_endpoint or location.endpoint, location.region, provider, self._http)

    def check(self) -> None:
        """See ObjectStore.check."""
        if not self._call(lambda: self._client.bucket_exists(bucket_name=self.location.bucket)):
            self._missing_bucket()

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """See ObjectStore.put."""
        self._call(
            lambda: self._client.put_object(
                bucket_name=self.location.bucket,
                object_name=key,
                data=io.BytesIO(data),
                length=len(data),
                content_type=content_type,
            )
        )

    def put_if(self, key: str, data: bytes, etag: str | None, content_type: str = "application/octet-stream") -> str:
        """See ObjectStore.put_if."""

        def request() -> str:
            address = self.presign_put(key, timedelta(minutes=1)).partition("?")[0]
            keys = self._provider.retrieve()
            return conditional.put_if(self._http, address, self.location.region, keys, data, etag, content_type)

        return self._call(request, key)

    def put_file(self, key: str, path: Path) -> None:
        """See ObjectStore.put_file."""
        self._call(
            lambda: self._client.fput_object(bucket_name=self.location.bucket, object_name=key, file_path=str(path))
        )

    def get(self, key: str) -> bytes:
        """See ObjectStore.get."""
        return self._call(lambda: b"".join(self._chunks(key)), key)

    def get_file(self, key: str, path: Path) -> None:
        """See ObjectStore.get_file."""

        def fetch() -> None:
            with path.open("wb") as out:
                for chunk in self._chunks(key):
                    out.write(chunk)

        self._call(fetch, key)

    def stat(self, key: str) -> ObjectStat | None:
        """See ObjectStore.stat."""
        try:
            found = self._call(
                lambda: self._client.stat_object(bucket_name=self.location.bucket, object_name=key),
                key,
            )
        except ObjectMissing:
            return None
        return ObjectStat(key, found.size or 0, found.etag or "", _seconds(found.last_modified))

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """See ObjectStore.list."""
        found = self._call(
            lambda: list(
                self._client.list_objects(bucket_name=self.location.bucket, prefix=prefix, recursive=True),
            )
        )
        for item in found:
            yield ObjectStat(item.object_name or "", item.size or 0, item.etag or "", _seconds(item.last_modified))

    def copy(self, source: str, target: str, if_etag: str | None = None) -> None:
        """See ObjectStore.copy."""
        origin = CopySource(bucket_name=self.location.bucket, object_name=source, match_etag=if_etag)
        self._call(
            lambda: self._client.copy_object(bucket_name=self.location.bucket, object_name=target, source=origin),
            source,
        )

    def delete(self, key: str) -> None:
        """See ObjectStore.delete."""
        self._call(lambda: self._client.remove_object(bucket_name=self.location.bucket, object_name=key))

    def sha256(self, key: str) -> tuple[str, int]:
        """See ObjectStore.sha256."""
        return self._call(lambda: _hash(self._chunks(key)), key)

    def presign_get(self, key: str, expires: timedelta, *, public: bool = False) -> str:
        """See ObjectStore.presign_get. Computed here: nothing is asked of the store."""
        client = self._public if public else self._client
        return str(client.presigned_get_object(bucket_name=self.location.bucket, object_name=key, expires=expires))

    def presign_put(self, key: str, expires: timedelta) -> str:
        """See ObjectStore.presign_put. Computed here: nothing is asked of the store."""
        return str(
            self._client.presigned_put_object(bucket_name=self.location.bucket, object_name=key, expires=expires)
        )

    def uri(self, key: str) -> str:
        """See ObjectStore.uri."""
        return f"s3://{self.location.bucket}/{key}"

    def _chunks(self, key: str) -> Iterator[bytes]:
        response = self._client.get_object(bucket_name=self.location.bucket, object_name=key)
        try:
            yield from response.stream(CHUNK)
        finally:
            response.close()
            response.release_conn()

    def _call(self, request: Callable[[], T], key: str = "") -> T:
        where = f"object store {self.location.endpoint}"
        try:
            return request()
        except (S3Error, conditional.AnsweredError) as error:
            if error.code == "NoSuchBucket":
                self._missing_bucket()
            if error.code in ("NoSuchKey", "NoSuchVersion"):
                raise ObjectMissing(f"{self.uri(key)} does not exist; check the address or make it again") from None
            if error.code in _DENIED:
                raise StorageDenied(
                    f"{where} refuses the credentials ({error.code}); check the keys in the Secret and their rights"
                ) from None
            said = str(error) if isinstance(error, conditional.AnsweredError) else error.code
            raise StorageError(f"{where} answered {said} for {key!r}; see the store's log") from None
        except (
            urllib3.exceptions.HTTPError,
            ServerError,
            InvalidResponseError,
            ConnectionError,
            TimeoutError,
        ) as error:
            raise StorageUnreachable(
                f"{where} does not answer ({type(error).__name__}); it is tried again, check the endpoint and network"
            ) from None

    def _missing_bucket(self) -> NoReturn:
        raise BucketMissing(
            f"bucket {self.location.bucket!r} does not exist at {self.location.endpoint}; create it or correct its name"
        )


def _http() -> urllib3.PoolManager:
    # The minio default of five retries with growing waits would hide an outage for minutes; callers retry.
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        maxsize=16,
        retries=urllib3.Retry(total=1, backoff_factor=0.2, status_forcelist=[502, 503, 504]),
    )


def _client(endpoint: str, region: str, provider: Provider, http: urllib3.PoolManager) -> Minio:
    parts = urlsplit(endpoint)
    return Minio(
        endpoint=parts.netloc, secure=parts.scheme == "https", region=region, credentials=provider, http_client=http
    )


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0


def _hash(chunks: Iterator[bytes]) -> tuple[str, int]:
    digest, length = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        length += len(chunk)
    return digest.hexdigest(), length


class FolderStore:
    """A folder as a bucket: <folder>/<bucket>/<key>. Writes are atomic renames."""

    def __init__(self, location: StoreLocation) -> None:
        self.location = location
        self._root = Path(location.endpoint.removeprefix("file://")) / location.bucket

    def check(self) -> None:
        """See ObjectStore.check."""
        if not self._root.is_dir():
            raise BucketMissing(f"folder {self._root} does not exist; create it or correct its name")

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """See ObjectStore.put."""
        self._write(key, lambda out: Path(out).write_bytes(data))

    def put_if(self, key: str, data: bytes, etag: str | None, content_type: str = "application/octet-stream") -> str:
        """See ObjectStore.put_if. Holds against other conditional writes; an unconditional one asks nobody."""
        path = self._path(key)
        with self._alone():
            if (self._stat(path).etag if path.is_file() else None) != etag:
                raise StaleWrite(f"{self.uri(key)} was written by somebody else meanwhile: read it again first")
            self.put(key, data)
            return self._stat(path).etag

    def put_file(self, key: str, path: Path) -> None:
        """See ObjectStore.put_file."""
        self._write(key, lambda out: shutil.copyfile(path, out))

    def get(self, key: str) -> bytes:
        """See ObjectStore.get."""
        return self._existing(key).read_bytes()

    def get_file(self, key: str, path: Path) -> None:
        """See ObjectStore.get_file."""
        shutil.copyfile(self._existing(key), path)

    def stat(self, key: str) -> ObjectStat | None:
        """See ObjectStore.stat."""
        path = self._path(key)
        return self._stat(path) if path.is_file() else None

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """See ObjectStore.list."""
        folder = self._root.resolve() / prefix.rpartition("/")[0]
        found = (self._stat(p) for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".partial"))
        yield from sorted((f for f in found if f.key.startswith(prefix)), key=lambda f: f.key)

    def copy(self, source: str, target: str, if_etag: str | None = None) -> None:
        """See ObjectStore.copy."""
        path = self._existing(source)
        if if_etag is not None and self._stat(path).etag != if_etag:
            raise StorageError(f"{self.uri(source)} changed while it was copied; try again")
        self.put_file(target, path)

    def delete(self, key: str) -> None:
        """See ObjectStore.delete."""
        self._path(key).unlink(missing_ok=True)

    def sha256(self, key: str) -> tuple[str, int]:
        """See ObjectStore.sha256."""
        with self._existing(key).open("rb") as file:
            return _hash(iter(lambda: file.read(CHUNK), b""))

    def presign_get(self, key: str, expires: timedelta, *, public: bool = False) -> str:
        """The file's own address: a folder knows no signatures."""
        return self.uri(key)

    def presign_put(self, key: str, expires: timedelta) -> str:
        """The file's own address: a folder knows no signatures."""
        return self.uri(key)

    def uri(self, key: str) -> str:
        """See ObjectStore.uri."""
        return self._path(key).as_uri()

    def _path(self, key: str) -> Path:
        path = (self._root / key).resolve()
        if not path.is_relative_to(self._root.resolve()):
            raise StorageError(f"key {key!r} leaves the store's folder; correct the key")
        return path

    def _existing(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise ObjectMissing(f"{self.uri(key)} does not exist; check the address or make it again")
        return path

    def _stat(self, path: Path) -> ObjectStat:
        found = path.stat()
        key = path.relative_to(self._root.resolve()).as_posix()
        if found.st_size <= HASHED_BYTES:
            # Two writes within a tick of the file system's clock have one time.
            etag = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            etag = f"{found.st_mtime_ns:x}-{found.st_size:x}"
        return ObjectStat(key, found.st_size, etag, found.st_mtime)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the bucket's lock, against threads and processes alike."""
        self.check()
        folder = os.open(self._root, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _write(self, key: str, write: Callable[[str], object]) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        os.close(handle)
        write(partial)
        Path(partial).replace(path)


def utc(seconds: float) -> datetime:
    """A store's time as a datetime in UTC, in whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC)
