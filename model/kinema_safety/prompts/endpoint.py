"""The form of a signal from elsewhere: a service that judges text, such as one with the interface of OpenAI's
moderation API.

Whoever calls one brings the client; this package opens no connection. What is raised here is for the caller to
handle: no verdict is no leave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from kinema_safety.verdict import Category


class TextEndpoint(Protocol):
    """Judges texts."""

    def scores(self, texts: Sequence[str]) -> Sequence[Mapping[Category, float]]:
        """For each text the probability of each category that the service knows, in [0, 1]."""
