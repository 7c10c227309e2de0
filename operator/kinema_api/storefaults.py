"""Converts the exceptions of client libraries into StorageErrors with a remedy.

Messages contain only names and codes of what was sent and received: the text of a library's error may contain a header
with a signature, and a store's text is untrusted.
"""

from __future__ import annotations

import ssl
from typing import Final
from xml.etree.ElementTree import ParseError

import urllib3.exceptions as http
from minio.error import InvalidResponseError, S3Error, ServerError

from kinema_api.conditional import AnsweredError
from kinema_api.errors import (
    BucketMissing,
    ObjectMissing,
    ObjectTooLarge,
    RangeMissing,
    StaleWrite,
    StorageDenied,
    StorageError,
    StorageUnreachable,
    StoreUnusable,
)
from kinema_api.objectstore import StoreLocation

_DENIED: Final = {
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidTokenId",
    "InvalidToken",
    "NotSignedUp",
    "SignatureDoesNotMatch",
}
_REGION: Final = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidRegion"}
_REGION_OR_ADDRESS: Final = {"PermanentRedirect", "TemporaryRedirect", "Redirect"}
_BUSY: Final = {"SlowDown", "SlowDownRead", "SlowDownWrite", "TooManyRequests", "RequestLimitExceeded", "Throttling"}
_AWAY: Final = {"InternalError", "ServiceUnavailable", "RequestTimeout", "XMinioServerNotInitialized"}
_BUSY_STATUS: Final = 429


def where(location: StoreLocation) -> str:
    """The store's name in messages."""
    return f"object store {location.endpoint}"


def missing_bucket(location: StoreLocation) -> BucketMissing:
    """The error for a bucket that does not exist."""
    return BucketMissing(
        f"bucket {location.bucket!r} does not exist at {location.endpoint}; create it or correct its name"
    )


def storage_error(error: Exception, location: StoreLocation, key: str = "") -> StorageError:
    """The StorageError for an exception of any library; `key` is the requested object."""
    match error:
        case StorageError():
            return _placed(error, location)
        case S3Error():
            return _answered(str(error.code), getattr(error.response, "status", 0), location, key)
        case AnsweredError():
            return _answered(error.code, error.status, location, key)
        case InvalidResponseError():
            return no_store(location, "it responded with a page that is not from S3")
        case ServerError():
            return by_status(error.status_code, location)
        case http.HTTPError() | OSError():
            return _unreachable(error, location)
        case ParseError() | UnicodeError() | AttributeError() | KeyError():
            return no_store(location, "its response is not from S3")
        case _:
            return StoreUnusable(
                f"{where(location)} cannot serve a request for {key or location.bucket!r} ({type(error).__name__}); "
                "check the endpoint, the bucket's name, the region and the characters of the keys"
            )


def by_status(status: int, location: StoreLocation) -> StorageError:
    """The error for an HTTP status without a readable body."""
    if status == _BUSY_STATUS:
        return _busy(location)
    if status >= 500:
        return StorageUnreachable(
            f"{where(location)} responded {status}; the operation is retried, see the store's log"
        )
    return no_store(location, f"it responded {status} with a body that is not from S3")


def _placed(error: StorageError, location: StoreLocation) -> StorageError:
    """The error, with the store's name added if it is missing: the HTTP layer does not know it."""
    if type(error) is StorageUnreachable and "object store" not in str(error):
        return StorageUnreachable(
            f"{where(location)} is too slow: {error}; the operation is retried, check the store's load and the network"
        )
    return error


def _answered(code: str, status: int, location: StoreLocation, key: str) -> StorageError:
    code = code[:64]
    if code == "NoSuchBucket":
        return missing_bucket(location)
    if code in ("NoSuchKey", "NoSuchVersion"):
        return ObjectMissing(f"s3://{location.bucket}/{key} does not exist; check the address or create it again")
    if code in _DENIED:
        return StorageDenied(
            f"{where(location)} refuses the credentials ({code}); check the keys in the Secret and their rights"
        )
    if code in _REGION:
        return StoreUnusable(
            f"{where(location)} is not in region {location.region!r} ({code}); set the store's region to the bucket's"
        )
    if code in _REGION_OR_ADDRESS:
        return StoreUnusable(
            f"{where(location)} reports another region of bucket {location.bucket!r} ({code}); set the store's "
            "region to the bucket's, or name the endpoint of that region"
        )
    if code == "RequestTimeTooSkewed":
        return StorageDenied(
            f"{where(location)} has a different time ({code}); synchronise the clocks of the store and of the nodes"
        )
    if code in _BUSY:
        return _busy(location)
    if code in _AWAY:
        return StorageUnreachable(f"{where(location)} responded {code}; the operation is retried, see the store's log")
    if code == "EntityTooLarge":
        return ObjectTooLarge(f"{where(location)} accepts no object as large as {key!r} ({code}); make it smaller")
    if code == "PreconditionFailed":
        return StaleWrite(f"s3://{location.bucket}/{key} changed meanwhile; try again")
    if code == "InvalidRange":
        return RangeMissing(
            f"s3://{location.bucket}/{key} ends before the bytes that are read of it; write the whole object again"
        )
    if status == _BUSY_STATUS:
        return _busy(location)
    return StorageError(f"{where(location)} responded {code} (status {status}) for {key!r}; see the store's log")


def _busy(location: StoreLocation) -> StorageError:
    return StorageUnreachable(
        f"{where(location)} throttles requests (429 or SlowDown); the operation is retried, raise the store's limits"
    )


def no_store(location: StoreLocation, what: str) -> StorageError:
    """The error for an endpoint that is not S3."""
    return StoreUnusable(f"{where(location)} is not an S3 store: {what}; give the endpoint of its S3 API")


def _unreachable(error: BaseException, location: StoreLocation) -> StorageError:
    cause: BaseException = error
    while isinstance(cause, http.MaxRetryError) and cause.reason is not None:
        cause = cause.reason
    at = where(location)
    match cause:
        case http.NameResolutionError():
            return StorageUnreachable(
                f"the name in {at} does not resolve (DNS); correct the endpoint, or wait until the Service exists"
            )
        case http.SSLError() | ssl.SSLError():
            return _tls(cause, location)
        case http.NewConnectionError() if "refused" in str(cause):
            return StorageUnreachable(
                f"{at} refuses connections: nothing listens on that port; check the port and that the store runs"
            )
        case http.ConnectTimeoutError():
            return StorageUnreachable(
                f"{at} does not accept a connection in time; check the endpoint, NetworkPolicies and firewalls"
            )
        case http.ReadTimeoutError() | TimeoutError():
            return StorageUnreachable(
                f"{at} accepts connections but does not respond; the operation is retried, check the store's log"
            )
        case http.ProtocolError() | ConnectionError():
            return StorageUnreachable(
                f"{at} closes the connection ({type(cause).__name__}); check that it speaks "
                f"{location.endpoint.partition(':')[0]} on that port"
            )
        case _:
            return StorageUnreachable(
                f"{at} does not respond ({type(cause).__name__}); the operation is retried, check the endpoint and "
                "network"
            )


def _tls(error: BaseException, location: StoreLocation) -> StorageError:
    at, text = where(location), str(error)
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER" in text or "HTTP_REQUEST" in text:
        return StoreUnusable(f"{at} does not use TLS on that port; write http://, or give its TLS port")
    if "Hostname mismatch" in text or "IP address mismatch" in text or "doesn't match" in text:
        return StoreUnusable(f"{at}: its certificate is for another name (TLS); use the name in its certificate")
    if "expired" in text:
        return StoreUnusable(f"{at}: its certificate has expired (TLS); renew it")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return StoreUnusable(
            f"{at}: its certificate is of an authority that is not trusted (TLS); give that authority's certificate as "
            "caBundle: spec.artifactStore.caBundle, or store.caBundle of the chart for the operator's own store"
        )
    return StorageUnreachable(
        f"{at}: TLS fails ({type(error).__name__}); check the store's certificate and TLS versions"
    )
