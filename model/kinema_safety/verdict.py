"""What judging ends in: what is refused, in which categories, by which signals and where; never the text itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Category(StrEnum):
    """What is refused. `MINORS` cannot be switched off."""

    VIOLENCE = "violence"
    SEXUAL = "sexual"
    MINORS = "minors"
    HATE = "hate"
    SELF_HARM = "self-harm"
    PUBLIC_FIGURES = "public-figures"
    IP = "ip"


class Signal(StrEnum):
    """What refuses; any one is enough."""

    LIST = "list"
    OWN_LIST = "own-list"
    RULE = "rule"
    CLASSIFIER = "classifier"
    ENDPOINT = "endpoint"


class Part(StrEnum):
    """Which text of a request."""

    PROMPT = "prompt"
    NEGATIVE_PROMPT = "negativePrompt"
    SHOT = "shot"
    EXPANDED_PROMPT = "expandedPrompt"


@dataclass(frozen=True)
class Place:
    """Where in a request; `number` counts shots from 1 and is None elsewhere."""

    part: Part
    number: int | None = None

    def __str__(self) -> str:
        return self.part if self.number is None else f"{self.part} {self.number}"


@dataclass(frozen=True)
class Finding:
    """One reason to refuse; `score` lies in [0, 1], 1 for lists and rules."""

    category: Category
    signal: Signal
    place: Place
    score: float = 1.0


@dataclass(frozen=True)
class Verdict:
    """The findings of a request, and the digests of what they were made by."""

    findings: tuple[Finding, ...]
    policy: str
    classifier: str

    @property
    def refused(self) -> bool:
        """Whether there is any reason to refuse."""
        return bool(self.findings)

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories of the findings, each once, minors first."""
        found = {finding.category for finding in self.findings}
        return tuple(sorted(found, key=lambda category: (category != Category.MINORS, category)))

    def as_json(self) -> dict[str, Any]:
        """The verdict as JSON values, for a status or a log."""
        return {
            "refused": self.refused,
            "findings": [
                {
                    "category": str(finding.category),
                    "signal": str(finding.signal),
                    "where": str(finding.place),
                    "score": round(finding.score, 3),
                }
                for finding in self.findings
            ],
            "policy": self.policy,
            "classifier": self.classifier,
        }
