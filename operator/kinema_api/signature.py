"""Signatures (Ed25519) by which a server verifies that a request comes from the operator.

A signature is for one pod and one request and expires. Pods have only the public key and their own UID, so a pod cannot
forge or replay requests to another pod. A signature covers the pod, the method and path, the generation's UID, the
attempt, the expiry and the digest of the body. Each has another expiry in milliseconds, and a server accepts it once.

Source: RFC 8032 (Ed25519), by way of PyCryptodome.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from Crypto.PublicKey import ECC
from Crypto.Signature import eddsa

EXPIRES_HEADER: Final = "X-Kinema-Expires"
SIGNATURE_HEADER: Final = "X-Kinema-Signature"
UID_HEADER: Final = "X-Kinema-Generation"
ATTEMPT_HEADER: Final = "X-Kinema-Attempt"

LIFE_SECONDS: Final = 120.0
SKEW_SECONDS: Final = 600.0
"""Most seconds that a node's clock may be behind the operator's."""
_CURVE: Final = "Ed25519"
_MODE: Final = "rfc8032"
_DOMAIN: Final = "kinema server request v1"


class NotSigned(Exception):
    """A request without a valid signature for this pod; the message has the reason."""


@dataclass(frozen=True)
class Claim:
    """The signed fields of a request."""

    pod_uid: str
    method: str
    path: str
    uid: str
    attempt: int
    """0: the request concerns no attempt."""
    expires_ms: int
    """Milliseconds since the epoch."""
    body_sha256: str

    def message(self) -> bytes:
        """The bytes that are signed: one line per field."""
        parts = (
            _DOMAIN,
            self.pod_uid,
            self.method,
            self.path,
            self.uid,
            self.attempt,
            self.expires_ms,
            self.body_sha256,
        )
        return "\n".join(str(part) for part in parts).encode()


def new_private_key() -> str:
    """A new key, in PEM."""
    return str(ECC.generate(curve=_CURVE).export_key(format="PEM"))


class Signer:
    """Signs requests to servers; one per process, so that no two signatures have the same expiry."""

    def __init__(self, private_pem: str) -> None:
        """Raises ValueError if this is no Ed25519 key."""
        self._key = ECC.import_key(private_pem)
        if self._key.curve != _CURVE or not self._key.has_private():
            raise ValueError(f"the key in the Secret is no private {_CURVE} key")
        self._last = 0

    @property
    def public_key(self) -> str:
        """The public key, in base64."""
        return base64.b64encode(self._key.public_key().export_key(format="raw")).decode()

    def headers(
        self, pod_uid: str, method: str, path: str, body: bytes, uid: str = "", attempt: int = 0
    ) -> dict[str, str]:
        """Headers that sign one request to one pod."""
        self._last = max(self._last + 1, int((time.time() + LIFE_SECONDS) * 1000))
        claim = Claim(pod_uid, method, path, uid, attempt, self._last, hashlib.sha256(body).hexdigest())
        signature = eddsa.new(self._key, _MODE).sign(claim.message())
        return {
            EXPIRES_HEADER: str(self._last),
            UID_HEADER: uid,
            ATTEMPT_HEADER: str(attempt),
            SIGNATURE_HEADER: base64.b64encode(signature).decode(),
        }


class Verifier:
    """Verifies the operator's signatures and accepts each once."""

    def __init__(self, public_keys: str, pod_uid: str) -> None:
        """`public_keys`: base64, separated by commas. Raises ValueError for an invalid key or an empty UID."""
        if not pod_uid:
            raise ValueError("the UID of the pod is missing: an order is signed for one pod")
        raw = [base64.b64decode(key, validate=True) for key in public_keys.split(",") if key]
        if not raw:
            raise ValueError("there is no public key")
        self._keys = [eddsa.import_public_key(key) for key in raw]
        self._pod_uid = pod_uid
        self._started_ms = int(time.time() * 1000)
        self._seen: dict[bytes, int] = {}

    def check_headers(self, headers: Mapping[str, str]) -> None:
        """Refuse an unsigned or expired request before its body is read. Raises NotSigned."""
        self._claim(headers, "", "", "")

    def check(self, headers: Mapping[str, str], method: str, path: str, body: bytes) -> Claim:
        """The signed fields of the request. Raises NotSigned."""
        claim, signature = self._claim(headers, method, path, hashlib.sha256(body).hexdigest())
        if not any(_verifies(key, claim.message(), signature) for key in self._keys):
            raise NotSigned("the signature is not the operator's for this pod and this request")
        now = int(time.time() * 1000)
        self._seen = {known: end for known, end in self._seen.items() if end > now}
        if signature in self._seen:
            raise NotSigned("this signature was used before: sign again")
        self._seen[signature] = claim.expires_ms
        return claim

    def _claim(self, headers: Mapping[str, str], method: str, path: str, digest: str) -> tuple[Claim, bytes]:
        try:
            expires, attempt = int(headers[EXPIRES_HEADER]), int(headers[ATTEMPT_HEADER])
            signature = base64.b64decode(headers[SIGNATURE_HEADER], validate=True)
        except (KeyError, ValueError, binascii.Error):
            raise NotSigned("the request is not signed: only the operator sends orders") from None
        now = time.time()
        issued = expires / 1000 - LIFE_SECONDS
        if expires <= now * 1000 or issued > now + SKEW_SECONDS:
            raise NotSigned("the signature has expired, or the clocks differ: synchronise the clocks of the nodes")
        if issued * 1000 < self._started_ms:
            raise NotSigned("the signature is older than this server: sign again")
        return Claim(self._pod_uid, method, path, headers.get(UID_HEADER, ""), attempt, expires, digest), signature


def _verifies(key: ECC.EccKey, message: bytes, signature: bytes) -> bool:
    try:
        eddsa.new(key, _MODE).verify(message, signature)
    except ValueError:
        return False
    return True
