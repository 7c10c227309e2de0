"""The object stores that specs name, opened with their Secrets, and short-lived credentials for a training's pods.

The keys in a Secret stay in this process. What pods get is made by STS AssumeRole with an inline policy that covers
their own prefixes and cannot delete. The request is signed here, since minio's own provider raises every duration
below an hour to an hour.

Source: AWS STS API reference, AssumeRole; MinIO implements it at the S3 endpoint itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import urllib3
from minio.credentials.credentials import Credentials
from minio.helpers import sha256_hash
from minio.signer import sign_v4_sts
from pydantic import ValidationError

from kinema_api.base import ArtifactStore
from kinema_api.errors import StorageDenied, StorageError, StorageUnreachable
from kinema_api.objectstore import ObjectStore, StoreCredentials, StoreLocation
from kinema_api.objectstores import open_store
from kinema_operator.errors import Denied
from kinema_operator.fenced import FencedStore
from kinema_operator.settings import Settings

SECRETS_ROLE: Final = "kinema-operator-secrets"
"""ClusterRole that a namespace binds to the operator's account to let it read the keys of stores of its own."""
ACCESS_KEY: Final = "accessKey"
SECRET_KEY: Final = "secretKey"

SECRET_TTL_SECONDS: Final = 60.0
"""A Secret that a spec names is read again after this long, so that changed keys are taken up."""
CHECK_TTL_SECONDS: Final = 5.0
"""A store found usable is not checked again within this time, however many resources ask."""
MAX_POLICY_BYTES: Final = 2048
"""Longest inline session policy that STS accepts."""
STS_CONNECTIONS: Final = 16
"""Connections kept to each store: as many as there are reconciles, so that a burst does not connect for each call."""
STS_TIMEOUT: Final = urllib3.Timeout(connect=5.0, read=15.0)
_STS: Final = {"a": "https://sts.amazonaws.com/doc/2011-06-15/"}


class SecretMissing(StorageError):
    """The Secret with a store's keys does not exist or lacks a key. It may yet appear."""


def storage_reason(error: StorageError) -> str:
    """The reason of a condition that waits for a store: what kind of error it is."""
    return "StorageFailed" if type(error) is StorageError else type(error).__name__


def store_location(artifact_store: ArtifactStore | None, settings: Settings) -> StoreLocation:
    """Where the store of a spec is: its own, or the operator's.

    Raises:
        StorageDenied: there is neither.
    """
    if artifact_store:
        return StoreLocation(
            endpoint=artifact_store.endpoint,
            public_endpoint=artifact_store.public_endpoint,
            bucket=artifact_store.bucket,
            region=artifact_store.region,
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
    )


class SecretReader(Protocol):
    """The part of the API client that is needed here."""

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """One object by its name, or None."""


@dataclass(frozen=True)
class _Opened:
    store: ObjectStore
    keys: StoreCredentials | Path | None
    read_at: float
    """Seconds of the monotonic clock."""


class Stores:
    """Every store in use, opened once per location and keys."""

    def __init__(self, settings: Settings, client: SecretReader) -> None:
        self._settings = settings
        self._client = client
        self._fence = lambda: fence() if (fence := getattr(client, "fence", None)) else None
        self._opened: dict[tuple[str, ArtifactStore | None], _Opened] = {}
        self._checked: dict[int, float] = {}
        self._checking: dict[int, asyncio.Lock] = {}
        self._http = urllib3.PoolManager(
            maxsize=STS_CONNECTIONS, timeout=STS_TIMEOUT, retries=urllib3.Retry(total=1, backoff_factor=0.2)
        )

    async def for_object(self, namespace: str, artifact_store: ArtifactStore | None) -> ObjectStore:
        """The store that a spec names, or the operator's own. Nothing is asked of the store itself.

        Raises:
            SecretMissing: the Secret is not there, or lacks a key; it may yet appear.
            StorageDenied: the operator has neither a default store nor keys to it.
        """
        return (await self._open(namespace, artifact_store)).store

    async def checked(self, namespace: str, artifact_store: ArtifactStore | None) -> ObjectStore:
        """Like `for_object`, and the bucket was found usable within the last seconds.

        Raises:
            StorageError: the store cannot be used now.
        """
        store = await self.for_object(namespace, artifact_store)
        # One check at a time per store: five hundred resources that start at once need one answer.
        async with self._checking.setdefault(id(store), asyncio.Lock()):
            if time.monotonic() - self._checked.get(id(store), -CHECK_TTL_SECONDS) >= CHECK_TTL_SECONDS:
                await asyncio.to_thread(store.check)
                self._checked[id(store)] = time.monotonic()
        return store

    async def scoped_credentials(self, store: ObjectStore, prefixes: Sequence[str], seconds: int) -> StoreCredentials:
        """Keys that read, write and list below `prefixes` for `seconds` (900 at least), and delete nothing.

        Raises:
            StorageDenied: the store's keys may not assume a role, or STS is not offered.
            StorageUnreachable: the store does not answer.
        """
        opened = next((entry for entry in self._opened.values() if entry.store is store), None)
        if opened is None or opened.keys is None:
            raise StorageDenied(f"{store.location.endpoint} has no keys to derive others from; use an S3 store")
        keys = await asyncio.to_thread(_read_keys, opened.keys)
        policy = scoped_policy(store.location.bucket, prefixes)
        return await asyncio.to_thread(_assume_role, self._http, store.location, keys, policy, seconds)

    async def _open(self, namespace: str, artifact_store: ArtifactStore | None) -> _Opened:
        scope = (namespace if artifact_store else "", artifact_store)
        found = self._opened.get(scope)
        if found and (artifact_store is None or time.monotonic() - found.read_at < SECRET_TTL_SECONDS):
            return found
        location = store_location(artifact_store, self._settings)
        keys: StoreCredentials | Path | None = self._settings.store_credentials_file
        if artifact_store:
            keys = await self._keys_of(namespace, artifact_store)
        # The same keys keep the same connections.
        store = found.store if found and found.keys == keys else FencedStore(open_store(location, keys), self._fence)
        opened = _Opened(store, keys, time.monotonic())
        self._opened[scope] = opened
        return opened

    async def _keys_of(self, namespace: str, artifact_store: ArtifactStore) -> StoreCredentials:
        name = artifact_store.secret_ref.name
        try:
            secret = await self._client.get("Secret", namespace, name)
        except Denied:
            raise StorageDenied(
                f"the operator may not read Secret {name!r} of namespace {namespace!r}: let an administrator bind "
                f"ClusterRole {SECRETS_ROLE} to the operator's service account in that namespace"
            ) from None
        if secret is None:
            raise SecretMissing(
                f"Secret {name!r} does not exist in namespace {namespace!r}: create it with the keys "
                f"{ACCESS_KEY} and {SECRET_KEY}"
            )
        data = secret.get("data") or {}
        for key in (ACCESS_KEY, SECRET_KEY):
            if not data.get(key):
                raise SecretMissing(f"Secret {name!r} in namespace {namespace!r} lacks the key {key}: add it")
        return StoreCredentials(
            access_key=base64.b64decode(data[ACCESS_KEY]).decode(),
            secret_key=base64.b64decode(data[SECRET_KEY]).decode(),
        )


def scoped_policy(bucket: str, prefixes: Sequence[str]) -> str:
    """An inline session policy: read, write and list below `prefixes`, nothing else, and no deletion.

    Raises:
        StorageDenied: it would be longer than STS accepts.
    """
    objects = [f"arn:aws:s3:::{bucket}/{prefix}*" for prefix in prefixes]
    statements = [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
            "Resource": objects,
        },
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{bucket}"],
            "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}},
        },
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
    if len(policy) > MAX_POLICY_BYTES:
        raise StorageDenied(
            f"the session policy has {len(policy)} bytes and STS accepts {MAX_POLICY_BYTES}: "
            "use shorter names for the namespace, the training or the bucket"
        )
    return policy


def _read_keys(keys: StoreCredentials | Path) -> StoreCredentials:
    if isinstance(keys, StoreCredentials):
        return keys
    try:
        return StoreCredentials.model_validate_json(keys.read_bytes())
    except (OSError, ValidationError) as error:
        raise StorageDenied(
            f"cannot read storage credentials from {keys} ({type(error).__name__}); check the mounted Secret"
        ) from None


def _assume_role(
    http: urllib3.PoolManager, location: StoreLocation, keys: StoreCredentials, policy: str, seconds: int
) -> StoreCredentials:
    body = urlencode({"Action": "AssumeRole", "Version": "2011-06-15", "DurationSeconds": seconds, "Policy": policy})
    url = urlsplit(f"{location.endpoint}/")
    digest = sha256_hash(body)
    now = datetime.now(UTC)
    headers = sign_v4_sts(
        method="POST",
        url=url,
        region=location.region,
        headers={
            "Content-Type": "application/x-www-form-urlencoded",
            "Host": url.netloc,
            "X-Amz-Date": now.strftime("%Y%m%dT%H%M%SZ"),
        },
        credentials=Credentials(keys.access_key, keys.secret_key, session_token=keys.session_token),
        content_sha256=digest,
        date=now,
    )
    try:
        answer = http.request(
            "POST", url.geturl(), body=body, headers={name: str(value) for name, value in headers.items()}
        )
    except urllib3.exceptions.HTTPError as error:
        raise StorageUnreachable(
            f"object store {location.endpoint} does not answer ({type(error).__name__}); it is tried again"
        ) from None
    if answer.status >= 500:
        raise StorageUnreachable(f"object store {location.endpoint} answered {answer.status}; it is tried again")
    if answer.status != 200:
        raise StorageDenied(
            f"object store {location.endpoint} refuses AssumeRole ({_sts_code(answer.data)}); the keys must belong to "
            "a user (not a service account), and the store must offer STS"
        )
    return _parse_assumed(answer.data, location)


def _parse_assumed(xml: bytes, location: StoreLocation) -> StoreCredentials:
    # The answer comes from the store that the operator was told to trust, over its own connection.
    found = ElementTree.fromstring(xml).find(".//a:Credentials", _STS)  # noqa: S314
    if found is None:
        raise StorageDenied(f"{location.endpoint} answered AssumeRole without credentials; the store must offer STS")
    part = {child.tag.rpartition("}")[2]: child.text or "" for child in found}
    expires = datetime.fromisoformat(part["Expiration"].replace("Z", "+00:00")).timestamp()
    return StoreCredentials(
        access_key=part["AccessKeyId"],
        secret_key=part["SecretAccessKey"],
        session_token=part["SessionToken"],
        expires=expires,
    )


def _sts_code(xml: bytes) -> str:
    try:
        code = ElementTree.fromstring(xml).find(".//{*}Code")  # noqa: S314
    except ElementTree.ParseError:
        return "an answer that is not STS"
    return (code.text or "no code") if code is not None else "no code"
