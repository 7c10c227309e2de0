"""Prompts as families: a paragraph of templates about one subject, of which at most twenty prompts are drawn.

    [violence]                 every family below it asks for violence; [fine] is for what is let through
    [fine: pair medicine]      as near to something refused as medicine comes

    a line is a template, {this|that} is written as one of them
    a second line of the same family

    an empty line begins the next family

A split by family keeps every wording of one subject on one side: what was learnt by heart helps with none of the
others.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOST: Final = 20
FINE: Final = "fine"
HERE: Final = Path(__file__).parent
HELD_BACK: Final = HERE / "held_back"
TRAINING: Final = HERE / "training"

_HEADING: Final = re.compile(r"\[([a-z-]+)(?:: pair ([a-z ]+))?\]")
_CHOICE: Final = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Example:
    """A prompt with what is known of it. `label` is a category, or "fine"; `pair` the sense that makes it harmless."""

    text: str
    language: str
    label: str
    family: str
    pair: str | None = None


def read(folder: Path) -> list[Example]:
    """All prompts of a folder, language by language; raises `ValueError` with file and line of what is no family."""
    return [example for path in sorted(folder.glob("*.txt")) for example in _read_file(path)]


def _read_file(path: Path) -> Iterator[Example]:
    language, label, pair, number = path.stem.split("-")[0], None, None, 0
    for line, paragraph in _paragraphs(path.read_text(encoding="utf-8")):
        if heading := _HEADING.fullmatch(paragraph[0]):
            label, pair = heading[1], heading[2]
            paragraph = paragraph[1:]
        if label is None:
            raise ValueError(f"{path.name}, line {line}: a family stands before the first [label]. Write one above it.")
        if paragraph:
            number += 1
            for text in expanded(paragraph):
                yield Example(text, language, label, f"{path.stem}-{number:03d}", pair)


def _paragraphs(text: str) -> Iterator[tuple[int, list[str]]]:
    begun, lines = 1, list[str]()
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.strip():
            begun = begun if lines else number
            lines.append(line.strip())
        elif lines:
            yield begun, lines
            lines = []


def expanded(templates: list[str], most: int = MOST) -> list[str]:
    """At most `most` prompts of a family, as many of each template, the same ones every time."""
    share = most // len(templates)
    drawn = [sorted(_all(template), key=_shuffled)[:share] for template in templates]
    return sorted({text for texts in drawn for text in texts})


def _all(template: str) -> list[str]:
    parts = _CHOICE.split(template)
    choices = [part.split("|") if odd % 2 else [part] for odd, part in enumerate(parts)]
    return ["".join(chosen).strip() for chosen in itertools.product(*choices)]


def _shuffled(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def digest(examples: Sequence[Example]) -> str:
    """Of all prompts with their labels: what a classifier says that it was trained on."""
    lines = "".join(f"{example.label}\t{example.text}\n" for example in examples)
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()
