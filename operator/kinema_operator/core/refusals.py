"""Objects that the API server refused, the reasons, and when each is retried.

The API server refuses the same object again until something changes. So a refusal is reported in a condition, and the
object is retried with a growing backoff, or at once if the plan changes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from kinema_operator.core.errors import (
    AdmissionDenied,
    ApiError,
    Denied,
    ForeignObject,
    NamespaceEnding,
    NotFound,
    QuotaExceeded,
    Rejected,
)
from kinema_operator.core.kstatus import Refusal
from kinema_operator.core.plan import KubeObject, Plan

BACKOFF_SECONDS: Final = (1.0, 60.0)
"""First and longest wait before a refused object is retried."""
_REASONS: Final[Sequence[tuple[type[ApiError], str]]] = (
    (QuotaExceeded, "QuotaExceeded"),
    (AdmissionDenied, "AdmissionDenied"),
    (Rejected, "Invalid"),
    (Denied, "NotAllowed"),
    (NotFound, "KindNotFound"),
)


def refusal_of(what: str, error: BaseException) -> Refusal | None:
    """The refusal in an error, or None: the request may be repeated."""
    if isinstance(error, ForeignObject):
        return Refusal(what, "NameTaken", str(error))
    if not isinstance(error, ApiError) or isinstance(error, NamespaceEnding):
        return None
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            # The API server's message quotes the object: do not report that of a Secret.
            said = reason if what.startswith("Secret ") else error.message
            return Refusal(what, reason, f"{said}; {error.remedy}")
    return None


@dataclass
class _Refused:
    refusal: Refusal
    digest: str
    tries: int
    next_at: float
    applied: bool


@dataclass
class Refusals:
    """The refused objects of one resource's plans."""

    _known: dict[str, _Refused] = field(default_factory=dict)

    @property
    def current(self) -> tuple[Refusal, ...]:
        """The current refusals."""
        return tuple(known.refusal for known in self._known.values())

    def keep_only(self, plan: Plan) -> None:
        """Forget objects that the plan does not have any more."""
        wanted = {f"{w.manifest['kind']} {w.manifest['metadata']['name']}" for w in plan.apply}
        for what in [what for what, known in self._known.items() if not known.applied or what not in wanted]:
            del self._known[what]

    def due(self, manifest: KubeObject, at: float) -> bool:
        """Whether to send the object now: it was not refused, it has changed, or its backoff is over."""
        known = self._known.get(f"{manifest['kind']} {manifest['metadata']['name']}")
        return known is None or at >= known.next_at or known.digest != _digest(manifest)

    def refused(self, refusal: Refusal, manifest: KubeObject | None, at: float) -> None:
        """Note that the object was refused; without a manifest it was a patch or a deletion."""
        digest = _digest(manifest) if manifest is not None else ""
        before = self._known.get(refusal.what)
        tries = before.tries + 1 if before and before.digest == digest else 0
        first, longest = BACKOFF_SECONDS
        wait = min(longest, first * 2 ** min(tries, 10))
        self._known[refusal.what] = _Refused(refusal, digest, tries, at + wait, manifest is not None)

    def taken(self, what: str) -> None:
        """Note that the object was accepted."""
        self._known.pop(what, None)

    def due_in(self, at: float) -> float | None:
        """Seconds until the first of them is retried."""
        return min((max(0.0, known.next_at - at) for known in self._known.values()), default=None)


def _digest(manifest: KubeObject) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
