"""What a negative prompt asks for: it says what is to be absent, so it is not read like a prompt.

Users list what they do not want to see ("nsfw, nudity, blood, ugly"): short items that name something forbidden are
what a careful user writes, and are left out before the rest is judged. What keeps a picture decent ("clothes,
censorship") asks for its opposite when it stands in a negative prompt, and is refused.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

from kinema_safety.prompts.terms import Lexicon, read_groups
from kinema_safety.prompts.writing import normalised, tokens

MOST_WORDS: Final = 3
"""An item of more words is a sentence, and judged as a prompt is."""
MOST_CHARACTERS: Final = 6
"""The same, of an item in Chinese."""
COVERS: Final = "covers"

_ITEMS: Final = re.compile(r"[,;:.!?\n、，；：。！？|/()\[\]{}<>]+")


@cache
def _terms() -> Lexicon:
    content = (files("kinema_safety.prompts") / "data" / "negative.txt").read_text(encoding="utf-8")
    return Lexicon(list(read_groups(content, "negative.txt")))


def items(text: str) -> list[str]:
    """The items of a negative prompt, normalised."""
    return [item for part in _ITEMS.split(normalised(text)) if (item := part.strip())]


def wants_uncovered(text: str) -> bool:
    """Whether an item asks for what it would uncover to be absent."""
    return any(_covers(item) for item in items(text))


def _covers(item: str) -> bool:
    words = tokens(item)
    return _is_short(words) and any(match.end - match.begin == len(words) for match in _terms().matches(words))


def sentences(text: str) -> str:
    """What is left to judge: items that are longer than a thing that is not wanted."""
    return ". ".join(item for item in items(text) if not _is_short(tokens(item)))


def _is_short(words: list[str]) -> bool:
    latin = any(len(word) > 1 for word in words)
    return len(words) <= (MOST_WORDS if latin else MOST_CHARACTERS)
