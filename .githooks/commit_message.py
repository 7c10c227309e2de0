"""Holds the message of a commit to the form that CONTRIBUTING.md asks for: the log is what a later reader searches.

python .githooks/commit_message.py FILE    called by pre-commit with the file that holds the message
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

LONGEST: Final = 72
# What git writes itself, or melts into another commit.
WRITTEN_BY_GIT: Final = re.compile(r"(Merge|Revert|fixup!|squash!|amend!) ")
# Words with the ending of another form that are imperatives all the same.
IMPERATIVES: Final = re.compile(
    r"(bring|string|ping|swing|ring|sing|embed|feed|seed|need|shed|speed|shred|wed|alias|bias|focus|canvas|.*ss)",
    re.IGNORECASE,
)
OTHER_FORMS: Final = re.compile(r".+(ing|ed|s)", re.IGNORECASE)
SCISSORS: Final = "# ------------------------ >8"


def faults(message: str) -> Iterator[str]:
    """What is wrong with a message, a sentence each."""
    lines = _written(message)
    if not lines:
        yield "the message is empty"
        return
    subject, *rest = lines
    if WRITTEN_BY_GIT.match(subject):
        return
    if len(subject) > LONGEST:
        yield f"the subject has {len(subject)} characters; at most {LONGEST}: say why in the body"
    word = re.split(r"[\s:]", subject, maxsplit=1)[0]
    if not word[:1].isupper():
        yield f"the subject begins with {word!r}; begin with a capital letter"
    if OTHER_FORMS.fullmatch(word) and not IMPERATIVES.fullmatch(word):
        yield f"the subject begins with {word!r}; say what the commit does as an order, such as 'Add' or 'Refuse'"
    if subject.endswith("."):
        yield "the subject ends with a full stop; leave it out"
    if rest and rest[0]:
        yield "the second line is not empty; leave one empty line between subject and body"


def _written(message: str) -> list[str]:
    """The lines that git will keep, without trailing blanks."""
    text = message.split(SCISSORS, 1)[0]
    return "\n".join(line.rstrip() for line in text.splitlines() if not line.startswith("#")).strip().splitlines()


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit code: 1 when the message is not taken."""
    found = list(faults(Path(arguments[0]).read_text(encoding="utf-8")))
    for fault in found:
        print(f"commit message: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
