"""Short-lived credentials by STS AssumeRole, for a training's prefixes and without permission to delete.

The request is signed here, since minio's provider raises every duration below an hour to an hour.

Source: AWS STS API reference, AssumeRole; MinIO implements it at the S3 endpoint itself.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

from minio.credentials.credentials import Credentials
from minio.helpers import sha256_hash
from minio.signer import sign_v4_sts
from urllib3.response import BaseHTTPResponse

from kinema_api.errors import StorageDenied, StorageUnreachable, StsMissing
from kinema_api.objectstore import StoreCredentials, StoreLocation
from kinema_api.storefaults import by_status, no_store, storage_error
from kinema_api.storehttp import Budget, StoreHttp

MAX_POLICY_BYTES: Final = 2048
"""Longest inline session policy that STS accepts."""
STS_SECONDS: Final = 10.0
"""Time limit of a request to STS."""
_NAMESPACE: Final = {"a": "https://sts.amazonaws.com/doc/2011-06-15/"}
_WITHOUT: Final = {"NotImplemented", "MethodNotAllowed", "InvalidAction", "UnsupportedOperation"}
_WITHOUT_STATUS: Final = {404, 405, 501}
_WORD: Final = re.compile(r"^[A-Za-z0-9.]{1,64}$")
_PATTERN: Final = re.compile(r"[*?$]")
"""Wildcards and the beginning of variables in a policy."""
_DENIED: Final = {400, 401, 403}


class Prefixes(Protocol):
    """Prefixes of a bucket by what keys allow below them; see `kinema_operator.training.scope.Scope`."""

    @property
    def write(self) -> Sequence[str]:
        """Read, written and listed."""

    @property
    def append(self) -> Sequence[str]:
        """Read and written."""

    @property
    def read(self) -> Sequence[str]:
        """Read."""

    @property
    def browse(self) -> Sequence[str]:
        """Read and listed."""


def scoped_policy(bucket: str, scope: Prefixes) -> str:
    """An inline session policy that allows only what `scope` says; prefixes are literal.

    Raises:
        StorageDenied: it is longer than STS accepts, or a prefix would match others.
    """
    for prefix in (*scope.write, *scope.append, *scope.read, *scope.browse):
        if _PATTERN.search(prefix):
            raise StorageDenied(
                f"keys cannot be limited to {prefix}, since *, ? and $ have a meaning there: use another folder"
            )

    def objects(prefixes: Iterable[str]) -> list[str]:
        return [f"arn:aws:s3:::{bucket}/{prefix}*" for prefix in prefixes]

    listed = (*scope.write, *scope.browse)
    statements: list[dict[str, object]] = [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
            "Resource": objects((*scope.write, *scope.append)),
        },
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{bucket}"],
            "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in listed]}},
        },
    ]
    if readable := objects((*scope.read, *scope.browse)):
        statements.append({"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": readable})
    document = {"Version": "2012-10-17", "Statement": statements}
    policy = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    if (size := len(policy.encode())) > MAX_POLICY_BYTES:
        raise StorageDenied(
            f"the session policy has {size} bytes and STS accepts {MAX_POLICY_BYTES}: "
            "use shorter names for the namespace, the training, the bucket or the folders of data.videos"
        )
    return policy


def assume_role(
    http: StoreHttp, location: StoreLocation, keys: StoreCredentials, policy: str, seconds: int
) -> StoreCredentials:
    """Keys with the permissions of `policy`, for `seconds` (900 at least). Blocks.

    Raises:
        StsMissing: the store has no AssumeRole.
        StorageDenied: these keys may not assume a role.
        StorageUnreachable: the store does not respond, or throttles requests.
        StoreUnusable: the response is not from STS.
    """
    with Budget(STS_SECONDS):
        try:
            answer = _send(http, location, keys, policy, seconds)
            if answer.status == 200:
                return _parse(answer.data, location)
        except Exception as error:
            raise storage_error(error, location) from None
    code = _code(answer.data)
    if answer.status in _WITHOUT_STATUS or code in _WITHOUT:
        raise StsMissing(
            f"object store {location.endpoint} has no AssumeRole of STS (it answered {answer.status}, {code}): use a "
            "store that has it, such as MinIO, or let the resource name its own keys with spec.artifactStore.secretRef"
        )
    if answer.status in _DENIED:
        raise StorageDenied(
            f"object store {location.endpoint} refuses AssumeRole ({code}); the keys must belong to "
            "a user (not a service account), and the store must offer STS"
        )
    if code == "SlowDown":
        raise StorageUnreachable(f"object store {location.endpoint} throttles requests; the operator retries")
    raise by_status(answer.status, location)


def _send(
    http: StoreHttp, location: StoreLocation, keys: StoreCredentials, policy: str, seconds: int
) -> BaseHTTPResponse:
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
    return http.urlopen("POST", url.geturl(), body=body, headers={name: str(value) for name, value in headers.items()})


def _parse(xml: bytes, location: StoreLocation) -> StoreCredentials:
    found = ElementTree.fromstring(xml).find(".//a:Credentials", _NAMESPACE)  # noqa: S314
    if found is None:
        raise no_store(location, "it responded to AssumeRole without credentials")
    part = {child.tag.rpartition("}")[2]: child.text or "" for child in found}
    expires = datetime.fromisoformat(part["Expiration"].replace("Z", "+00:00")).timestamp()
    if expires <= time.time():
        raise no_store(
            location, "its temporary credentials have expired already; synchronise the clocks of store and nodes"
        )
    return StoreCredentials(
        access_key=part["AccessKeyId"],
        secret_key=part["SecretAccessKey"],
        session_token=part["SessionToken"],
        expires=expires,
    )


def _code(xml: bytes) -> str:
    try:
        code = ElementTree.fromstring(xml).find(".//{*}Code")  # noqa: S314
    except ElementTree.ParseError:
        return "a response that is not from STS"
    return code.text if code is not None and code.text and _WORD.match(code.text) else "no code"
