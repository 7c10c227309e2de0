"""Terms of one or more words, and where they stand in a text.

A file of terms is read line by line: `[group]` begins a group, `#` a remark. In a term an asterisk stands for any
ending of a word, two dots for up to four other words or six other Chinese characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from kinema_safety.errors import TermsRefused
from kinema_safety.prompts.writing import BREAKS, is_cjk, normalised, tokens

LONGEST_TERM: Final = 200
_HEADING: Final = re.compile(r"\[([a-z-]+)\]")
_LONGEST_ENDING: Final = 3
_GAP_WORDS: Final = 4
_GAP_CHARACTERS: Final = 6


@dataclass(frozen=True, slots=True)
class Term:
    """A term as its words: `stems` says of each whether it may go on, `gaps` whether others may stand before it.

    `language` is empty for a term that counts in every text.
    """

    group: str
    words: tuple[str, ...]
    stems: tuple[bool, ...]
    gaps: tuple[bool, ...]
    language: str = ""

    @property
    def letters(self) -> int:
        """How many letters must be the same."""
        return sum(map(len, self.words))

    def end(self, text: list[str], begin: int) -> int | None:
        """The position behind the term, if it stands at `begin`, where its first word has been found."""
        if len(self.words) == 1:
            return begin + 1
        at = begin + 1
        for place, word in enumerate(self.words[1:], 1):
            found = self._next(text, at, place, word)
            if found is None:
                return None
            at = found + 1
        return at

    def _next(self, text: list[str], at: int, place: int, word: str) -> int | None:
        reach = 0
        if self.gaps[place]:
            reach = _GAP_CHARACTERS if is_cjk(word) else _GAP_WORDS
        for position in range(at, min(at + reach + 1, len(text))):
            if text[position] == word or (self.stems[place] and text[position].startswith(word)):
                return position
            if text[position] in BREAKS:
                return None
        return None


@dataclass(frozen=True, slots=True)
class Match:
    """Where a term stands in a list of tokens."""

    term: Term
    begin: int
    end: int


def parse_term(text: str, group: str, language: str = "") -> Term:
    """Raises `TermsRefused` for a term without a word, or one that is too long."""
    if len(text) > LONGEST_TERM:
        raise TermsRefused(f"{group}: a term has {len(text)} characters; at most {LONGEST_TERM}. Shorten it.")
    marked = normalised(text.replace("..", f" {_GAP_LETTER} ").replace("*", f"{_STEM_LETTER} "))
    words: list[str] = []
    stems: list[bool] = []
    gaps: list[bool] = []
    gap = False
    for token in tokens(marked):
        if token == _GAP_LETTER:
            gap = bool(words)
        elif token in BREAKS or token == _STEM_LETTER:
            continue
        else:
            stem = token.endswith(_STEM_LETTER)
            words.append(token.removesuffix(_STEM_LETTER) if stem else token)
            stems.append(stem)
            gaps.append(gap)
            gap = False
    if not words:
        raise TermsRefused(f"{group}: a term has no letters. Remove the line, or write the term.")
    return Term(group, tuple(words), tuple(stems), tuple(gaps), language)


# Letters of no living language, so that marks pass normalisation and tokens as letters do.
_STEM_LETTER: Final = "ᚠ"
_GAP_LETTER: Final = "ᚢ"


def read_groups(text: str, name: str, language: str = "") -> Iterator[Term]:
    """All terms of a file; raises `TermsRefused` with file and line."""
    group: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if heading := _HEADING.fullmatch(line):
            group = heading[1]
        elif group is None:
            raise TermsRefused(f"{name}, line {number}: a term stands before the first [group]. Write one above it.")
        else:
            yield parse_term(line, group, language)


@dataclass
class Lexicon:
    """Terms by their first word."""

    terms: Iterable[Term]
    _whole: dict[str, list[Term]] = field(default_factory=dict, init=False)
    _stems: dict[str, list[Term]] = field(default_factory=dict, init=False)
    words: set[str] = field(default_factory=set, init=False)
    stems: set[str] = field(default_factory=set, init=False)
    _lengths: list[int] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        for term in self.terms:
            first = self._stems if term.stems[0] else self._whole
            first.setdefault(term.words[0], []).append(term)
            for word, stem in zip(term.words, term.stems, strict=True):
                (self.stems if stem else self.words).add(word)
        self._lengths = sorted({len(stem) for stem in self._stems})

    def knows(self, word: str) -> bool:
        """Whether some term has this word, or its beginning with at most three letters more."""
        return word in self.words or any(word[: len(word) - tail] in self.stems for tail in range(_LONGEST_ENDING + 1))

    def matches(self, text: list[str]) -> list[Match]:
        """All terms in a list of tokens, also those that overlap."""
        seen: dict[str, list[Term]] = {}
        for token in text:
            if token not in seen:
                seen[token] = self._begin_with(token)
        return [
            Match(term, begin, end)
            for begin, token in enumerate(text)
            for term in seen[token]
            if (end := term.end(text, begin)) is not None
        ]

    def _begin_with(self, token: str) -> list[Term]:
        terms = list(self._whole.get(token, ()))
        for length in self._lengths:
            if length > len(token):
                break
            terms += self._stems.get(token[:length], ())
        return terms


def outside(matches: list[Match], harmless: list[Match]) -> list[Match]:
    """Matches that no harmless phrase contains whole."""
    spans = [(match.begin, match.end) for match in harmless]
    return [m for m in matches if not any(begin <= m.begin and m.end <= end for begin, end in spans)]
