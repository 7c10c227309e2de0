"""The operator's error tree: what can go wrong between it and the API server, each with a remedy.

OperatorError
├── NoCredentials        no API server is configured
├── NotLeading           this replica may not write (any more)
├── ForeignObject        an object of that name has another owner
├── InputUnusable        an input of a generation is not available; see generation/inputs.py
└── ApiError             the API server refused, or did not respond
    ├── NotFound
    ├── AlreadyExists
    ├── Conflict         the object has changed since it was read
    ├── Expired          a resourceVersion is too old to watch from
    ├── Denied           authentication or authorization failed
    ├── NamespaceEnding  nothing can be created in a namespace that is being deleted
    ├── Rejected         the request is invalid
    │   ├── AdmissionDenied  an admission plugin, webhook or policy does not allow it
    │   └── QuotaExceeded    the namespace's ResourceQuota does not allow it
    ├── Throttled        too many requests, also after waiting
    └── Unavailable      time-out, broken connection, or a fault of the server
        └── WatchIdle      a watch without any event, which is started again
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, Final


class OperatorError(Exception):
    """Base of all errors of the operator. `str(error)` is one sentence with a remedy."""


class NoCredentials(OperatorError):
    """No API server is configured."""


class NotLeading(OperatorError):
    """This replica may not write: another one leads, or may lead by now."""


class ForeignObject(OperatorError):
    """An object that should be created exists and has another owner."""


class ApiError(OperatorError):
    """The API server refused a request or did not respond.

    `status` is the HTTP status (0: no response), `reason` the machine-readable reason in the response.
    """

    remedy = "see the API server's log"

    def __init__(self, request: str, message: str, status: int = 0, reason: str = "") -> None:
        super().__init__(f"{request}: {message or reason or status}; {self.remedy}")
        self.status = status
        self.reason = reason
        self.message = message or reason or str(status)
        """The API server's message alone."""


class NotFound(ApiError):
    """The object, or its kind, does not exist."""

    remedy = "create the object, or install the CRDs if the kind is unknown"


class AlreadyExists(ApiError):
    """An object of that name exists."""

    remedy = "read it before creating it again"


class Conflict(ApiError):
    """The object has changed since it was read."""

    remedy = "read it again and reconcile"


class Expired(ApiError):
    """The resourceVersion is older than what the API server remembers."""

    remedy = "list again"


class Denied(ApiError):
    """The credentials are invalid or do not allow the request."""

    remedy = "check the operator's RBAC rules and its service account"


class NamespaceEnding(ApiError):
    """The namespace is being deleted: nothing can be created in it."""

    remedy = "no action is needed; create it in another namespace if it is still needed"


class Rejected(ApiError):
    """The API server considers the request invalid."""

    remedy = "correct the field that the message names"


class AdmissionDenied(Rejected):
    """The request is valid and allowed by RBAC, but admission control refuses it."""

    remedy = "change what the message names, or ask the administrator of the namespace's limits and policies"


class QuotaExceeded(Rejected):
    """The namespace's ResourceQuota is exhausted."""

    remedy = "free some quota, or have the ResourceQuota raised; the operator retries"


class Throttled(ApiError):
    """The API server throttles requests, also after waiting for Retry-After."""

    remedy = "wait, or configure a FlowSchema for the operator"
    retry_after = 1.0
    """Seconds that the API server asks to wait."""


class Unavailable(ApiError):
    """The API server does not respond in time, or responds with a server error."""

    remedy = "the operator retries; check that the API server is up and reachable"


class WatchIdle(Unavailable):
    """A watch got no event, not even a bookmark: normal without changes, so it is only started again."""

    remedy = "the operator restarts it"


_BY_STATUS: dict[int, type[ApiError]] = {
    HTTPStatus.BAD_REQUEST: Rejected,
    HTTPStatus.UNAUTHORIZED: Denied,
    HTTPStatus.FORBIDDEN: Denied,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.METHOD_NOT_ALLOWED: Rejected,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Expired,
    HTTPStatus.UNPROCESSABLE_ENTITY: Rejected,
    HTTPStatus.TOO_MANY_REQUESTS: Throttled,
}


_NO_RIGHT: Final = re.compile(r'User "[^"]*" cannot |^$|^Forbidden$')
"""Messages of the authorizer; admission uses the same status for its refusals."""
_WEBHOOK: Final = re.compile(r"admission webhook .* denied the request|ValidatingAdmissionPolicy .* denied request")


def api_error(request: str, status: int, answer: Any) -> ApiError:
    """The error for a response of the API server; `answer` is usually a metav1.Status."""
    fields = answer if isinstance(answer, dict) else {}
    reason = str(fields.get("reason") or "")
    message = str(fields.get("message") or answer or "")
    if status == HTTPStatus.CONFLICT and reason == "AlreadyExists":
        return AlreadyExists(request, message, status, reason)
    causes = (fields.get("details") or {}).get("causes") or ()
    if status == HTTPStatus.FORBIDDEN and any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return NamespaceEnding(request, message, status, reason)
    if status == HTTPStatus.FORBIDDEN and not _NO_RIGHT.search(message):
        kind = QuotaExceeded if "exceeded quota" in message or "failed quota" in message else AdmissionDenied
        return kind(request, message, status, reason)
    if _WEBHOOK.search(message) and status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return AdmissionDenied(request, message, status, reason)
    return _BY_STATUS.get(status, Unavailable)(request, message, status, reason)
