"""Conditional writes to an S3 store: only if the object does not exist yet, or still has a known ETag.

minio-py cannot send them: `put_object(metadata=...)` would store If-Match and If-None-Match as metadata of the object
and overwrite it. Nothing is retried here: if the response is lost, the write may have happened, and only the caller can
find out.

Source: Amazon S3 API reference, PutObject, headers If-Match and If-None-Match; MinIO implements both.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

import urllib3
from minio.credentials.credentials import Credentials
from minio.signer import sign_v4_s3

from kinema_api.errors import StaleWrite, StorageDenied, StorageError, StorageUnreachable, StoreLacksConditionalWrites
from kinema_api.objectstore import ObjectStore

MAX_ANSWER_BYTES: Final = 64 << 10
"""Longest response to a write that is read."""
ANY_VERSION: Final = "*"
_CODE: Final = re.compile(rb"<Code>([A-Za-z]{1,64})</Code>")
_LOST: Final = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "NoSuchVersion"}
"""Error codes for a condition that does not hold; NoSuchKey is the response to If-Match on a missing object."""


class AnsweredError(Exception):
    """The store refused a write for another reason than its condition."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{code} (status {status})")
        self.status, self.code = status, code


def put_if(
    http: urllib3.PoolManager,
    address: str,
    region: str,
    keys: Credentials,
    data: bytes,
    etag: str | None,
    content_type: str,
) -> str:
    """PUT `data` to the object at `address` if its ETag is `etag` (None: if there is no such object); the new ETag.

    Args:
        http: connections; its own retries and redirects are not used.
        address: URL of the object, without a query.
        region: region in the signature.
        keys: keys for the signature.
        data: the whole object.
        etag: without quotes.
        content_type: content type of the object.

    Raises:
        StaleWrite: the condition does not hold, or another write was under way.
        StorageUnreachable: the store does not respond; the object may have been written.
        AnsweredError: another refusal.
    """
    url = urlsplit(address)
    sent = _signed(url, region, keys, data, etag, content_type)
    answer = http.urlopen(
        "PUT", urlunsplit(url), body=data, headers=sent, redirect=False, retries=False, preload_content=False
    )
    try:
        said = answer.read(MAX_ANSWER_BYTES)
    finally:
        answer.release_conn()
    return _outcome(answer.status, str(answer.headers.get("ETag") or ""), said, address)


def _signed(
    url: SplitResult, region: str, keys: Credentials, data: bytes, etag: str | None, content_type: str
) -> dict[str, str]:
    """Headers of the PUT, its condition among them, under AWS Signature Version 4."""
    now = datetime.now(UTC)
    digest = hashlib.sha256(data).hexdigest()
    headers: dict[str, str | list[str] | tuple[str]] = {
        "Host": url.netloc,
        "Content-Type": content_type,
        "Content-Length": str(len(data)),
        "x-amz-content-sha256": digest,
        "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
    }
    if etag is None:
        headers["If-None-Match"] = ANY_VERSION
    else:
        headers["If-Match"] = f'"{etag}"'
    if keys.session_token:
        headers["x-amz-security-token"] = keys.session_token
    signed = sign_v4_s3(
        method="PUT", url=url, region=region, headers=headers, credentials=keys, content_sha256=digest, date=now
    )
    return {name: str(value) for name, value in signed.items()}


def _outcome(status: int, etag: str, said: bytes, address: str) -> str:
    if status == 200:
        if not etag:
            raise StorageError(f"{address} was written but the store returned no ETag: use a store with the S3 API")
        return etag.strip('"')
    found = _CODE.search(said)
    code = found[1].decode() if found else "no code"
    if status in (409, 412) or code in _LOST:
        if code == "NoSuchBucket":
            raise AnsweredError(status, code)
        raise StaleWrite(f"{address} was written by another client meanwhile: read it again before the next write")
    if status == 501 or code == "NotImplemented":
        raise StoreLacksConditionalWrites(
            f"the store of {address} does not support conditional writes: use one that does"
        )
    if status in (429, 503) or status >= 500:
        raise StorageUnreachable(
            f"object store of {address} responded {status} ({code}); the operation is retried, check the store's load"
        )
    if status == 403 and not found:
        raise StorageDenied(f"the store of {address} refuses the credentials; check the keys and their rights")
    raise AnsweredError(status, code)


def require_conditional_writes(store: ObjectStore, prefix: str) -> None:
    """Check with a temporary object below `prefix` that the store refuses a second creation and a stale ETag. Blocks.

    Raises:
        StoreLacksConditionalWrites: the store ignores or does not know the conditions.
        StorageError: the store cannot be used now.
    """
    key = f"{prefix}conditional-write-check-{secrets.token_hex(4)}"
    try:
        first = store.put_if(key, b"first", None)
    except StoreLacksConditionalWrites:
        raise StoreLacksConditionalWrites(_lacks(store, "does not support conditional writes")) from None
    try:
        _require_refused(store, key, None, "a second creation of an object")
        second = store.put_if(key, b"second", first)
        _require_refused(store, key, first, "a write against a version that is gone")
        found = store.stat(key)
        if found is None or found.etag != second:
            raise StoreLacksConditionalWrites(_lacks(store, "does not return the version that it has just written"))
    finally:
        with suppress(StorageError):
            store.delete(key)


def _require_refused(store: ObjectStore, key: str, etag: str | None, what: str) -> None:
    try:
        store.put_if(key, b"refused", etag)
    except StaleWrite:
        return
    raise StoreLacksConditionalWrites(_lacks(store, f"does not refuse {what}"))


def _lacks(store: ObjectStore, what: str) -> str:
    return (
        f"object store {store.location.endpoint} {what}, so it cannot tell two groups of one training apart: use one "
        "with conditional writes (Amazon S3, MinIO), or let the operator allow the weaker fence "
        "(store.allowWeakFence in the chart's values)"
    )
