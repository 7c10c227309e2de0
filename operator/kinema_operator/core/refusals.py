"""Objects that the API server does not take: which they are, why, and when each is tried again.

A refusal is an answer, not a fault of the request's way: the same object will be refused again until somebody changes
something. So it is told in a condition and tried again ever more seldom, at once if the plan asks for something else.
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
"""First and longest wait until a refused object is tried again."""
_REASONS: Final[Sequence[tuple[type[ApiError], str]]] = (
    (QuotaExceeded, "QuotaExceeded"),
    (AdmissionDenied, "AdmissionDenied"),
    (Rejected, "Invalid"),
    (Denied, "NotAllowed"),
    (NotFound, "KindNotFound"),
)


def refusal_of(what: str, error: BaseException) -> Refusal | None:
    """The refusal that an error tells of, or None: the request may simply be sent again."""
    if isinstance(error, ForeignObject):
        return Refusal(what, "NameTaken", str(error))
    if not isinstance(error, ApiError) or isinstance(error, NamespaceEnding):
        return None
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            # The API server quotes what it refuses, which of a Secret nobody should read.
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
    """What was refused of one resource's plans."""

    _known: dict[str, _Refused] = field(default_factory=dict)

    @property
    def current(self) -> tuple[Refusal, ...]:
        """All that are refused as far as is known."""
        return tuple(known.refusal for known in self._known.values())

    def keep_only(self, plan: Plan) -> None:
        """Forget what the plan does not ask for any more."""
        wanted = {f"{w.manifest['kind']} {w.manifest['metadata']['name']}" for w in plan.apply}
        for what in [what for what, known in self._known.items() if not known.applied or what not in wanted]:
            del self._known[what]

    def due(self, manifest: KubeObject, at: float) -> bool:
        """Whether the object is to be sent now: it was not refused, it has changed, or it has waited long enough."""
        known = self._known.get(f"{manifest['kind']} {manifest['metadata']['name']}")
        return known is None or at >= known.next_at or known.digest != _digest(manifest)

    def refused(self, refusal: Refusal, manifest: KubeObject | None, at: float) -> None:
        """The object was not taken; without a manifest it was a patch or a deletion."""
        digest = _digest(manifest) if manifest is not None else ""
        before = self._known.get(refusal.what)
        tries = before.tries + 1 if before and before.digest == digest else 0
        first, longest = BACKOFF_SECONDS
        wait = min(longest, first * 2 ** min(tries, 10))
        self._known[refusal.what] = _Refused(refusal, digest, tries, at + wait, manifest is not None)

    def taken(self, what: str) -> None:
        """The object is as it should be."""
        self._known.pop(what, None)

    def due_in(self, at: float) -> float | None:
        """Seconds until the first of them is to be tried again."""
        return min((max(0.0, known.next_at - at) for known in self._known.values()), default=None)


def _digest(manifest: KubeObject) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
