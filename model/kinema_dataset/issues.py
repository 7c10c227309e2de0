"""What is wrong with inputs and captions, counted by reason: a listing of 100,000 files is told in a page."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from kinema_dataset.errors import DatasetError

MAX_SENTENCES: Final = 100
"""Sentences that are kept of each reason; all are counted."""


class Reason(StrEnum):
    """Why a file or a caption is not used, or not the only one; each is counted."""

    MISSING = "no caption"
    EMPTY = "empty caption"
    NOT_UTF8 = "not UTF-8"
    TOO_LONG = "too long"
    NOT_TEXT = "not text"
    NOT_JSON = "not JSON"
    NOT_CSV = "not CSV"
    BAD_NAME = "bad file name"
    OTHER_FILE = "for a file that is not there"
    DUPLICATE = "file named twice"
    TWO_SOURCES = "two sources"
    UNREADABLE = "unreadable file"
    NOT_A_CLIP = "not a clip"
    EMPTY_FILE = "empty file"


class Issue(DatasetError):
    """A file or a caption cannot be used: `file` and `field` name it, `reason` is what is counted."""

    def __init__(self, reason: Reason, file: str, field: str, sentence: str) -> None:
        super().__init__(f"{shown(file)}{f', {shown(field)}' if field else ''}: {sentence}")
        self.reason, self.file, self.field = reason, file, field


@dataclass
class Issues:
    """What was wrong, by reason: how often, and the first sentences."""

    counts: Counter[Reason] = field(default_factory=Counter)
    sentences: dict[Reason, list[str]] = field(default_factory=dict)

    def add(self, issue: Issue) -> None:
        """Count an issue, and keep its sentence while there are few of its reason."""
        self.counts[issue.reason] += 1
        kept = self.sentences.setdefault(issue.reason, [])
        if len(kept) < MAX_SENTENCES:
            kept.append(str(issue))


def shown(name: str, most: int = 200) -> str:
    """A name that others chose, as a message shows it: printable, on one line, of bounded length."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name[: most + 1])
    return clean if len(clean) <= most else f"{clean[:most]}..."
