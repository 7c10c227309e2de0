"""The operator's error tree: what can go wrong between it and the API server, each with a remedy.

OperatorError
├── NoCredentials        no way to the API server is configured
├── NotLeading           this replica may not write (any more)
├── ForeignObject        an object of that name belongs to somebody else
├── InputUnusable        what a generation is given cannot be had; see generation/inputs.py
└── ApiError             the API server refused, or did not answer
    ├── NotFound
    ├── AlreadyExists
    ├── Conflict         the object has moved on since it was read
    ├── Expired          a resourceVersion is too old to watch from
    ├── Denied           authentication or authorization failed
    ├── NamespaceEnding  nothing may be made in a namespace that is being deleted
    ├── Rejected         the request is wrong: validation
    │   ├── AdmissionDenied  an admission plugin, webhook or policy does not allow it
    │   └── QuotaExceeded    the namespace's ResourceQuota does not allow it
    ├── Throttled        too many requests, also after waiting as told
    └── Unavailable      time-out, broken connection, or a fault of the server
        └── WatchIdle      a watch heard nothing for so long that it is started anew
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, Final


class OperatorError(Exception):
    """Base of all errors of the operator. `str(error)` is one sentence with a remedy."""


class NoCredentials(OperatorError):
    """No way to the API server is configured."""


class NotLeading(OperatorError):
    """This replica may not write: another one leads, or may lead by now."""


class ForeignObject(OperatorError):
    """An object that should be made exists and belongs to another owner."""


class ApiError(OperatorError):
    """The API server refused a request or did not answer.

    `status` is the HTTP status (0: no answer), `reason` the machine-readable reason of the answer.
    """

    remedy = "see the API server's log"

    def __init__(self, request: str, message: str, status: int = 0, reason: str = "") -> None:
        super().__init__(f"{request}: {message or reason or status}; {self.remedy}")
        self.status = status
        self.reason = reason
        self.message = message or reason or str(status)
        """What the API server says, and no more."""


class NotFound(ApiError):
    """The object, or its kind, does not exist."""

    remedy = "create the object, or install the CRDs if the kind is unknown"


class AlreadyExists(ApiError):
    """An object of that name exists."""

    remedy = "read it before creating it again"


class Conflict(ApiError):
    """The object has moved on since it was read."""

    remedy = "read it again and reconcile"


class Expired(ApiError):
    """The resourceVersion is older than what the API server remembers."""

    remedy = "list again"


class Denied(ApiError):
    """The credentials are not accepted, or do not allow this."""

    remedy = "check the operator's RBAC rules and its service account"


class NamespaceEnding(ApiError):
    """The namespace is being deleted: nothing may be made in it any more."""

    remedy = "no action is needed; create it in another namespace if it is still needed"


class Rejected(ApiError):
    """The API server finds the request wrong."""

    remedy = "correct the field that the message names"


class AdmissionDenied(Rejected):
    """The request is well formed and this account may make it, but admission control refuses it."""

    remedy = "change what the message names, or ask the administrator of the namespace's limits and policies"


class QuotaExceeded(Rejected):
    """The namespace has used up what it may have."""

    remedy = "free some quota, or have the ResourceQuota raised; the operator retries"


class Throttled(ApiError):
    """The API server asks for fewer requests, and waiting as it told did not help."""

    remedy = "wait, or configure a FlowSchema for the operator"
    retry_after = 1.0
    """Seconds that the API server asks to wait."""


class Unavailable(ApiError):
    """The API server does not answer in time or answers with a fault."""

    remedy = "the operator retries; check that the API server is up and reachable"


class WatchIdle(Unavailable):
    """A watch heard nothing, not even a bookmark: common where nothing happens, so it is only started anew."""

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
"""How the authorizer words a refusal; admission uses the same status for everything that it refuses."""
_WEBHOOK: Final = re.compile(r"admission webhook .* denied the request|ValidatingAdmissionPolicy .* denied request")


def api_error(request: str, status: int, answer: Any) -> ApiError:
    """The error for an answer of the API server; `answer` is a metav1.Status or whatever came instead."""
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
