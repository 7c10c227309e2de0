"""Names of people and of characters, with the spellings of each.

A line holds the spellings of one name between bars. A policy allows a name by any of them. A spelling with a tilde
also means something else ("drake" is a duck), and counts only beside a word that says which is meant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kinema_safety.prompts.terms import Lexicon, Term, parse_term
from kinema_safety.prompts.writing import is_cjk
from kinema_safety.verdict import Category

_LEAST_JOINED = 8


@dataclass(frozen=True)
class Named:
    """A person or character, by the first spelling, and its category."""

    name: str
    category: Category


@dataclass
class Names:
    """All names of the lists by their spellings."""

    cues: Lexicon
    named: dict[tuple[str, ...], Named] = field(default_factory=dict)
    _terms: dict[bool, list[Term]] = field(default_factory=lambda: {False: [], True: []})

    _spellings: list[tuple[str, ...]] = field(default_factory=list)

    def read(self, lines: Iterable[str], category: Category) -> None:
        """Takes a name a line."""
        for line in lines:
            spellings = [spelling.strip() for spelling in line.split("|")]
            self._spellings.append(tuple(spellings))
            named = Named(spellings[0].removeprefix("~"), category)
            for spelling in spellings:
                term = parse_term(spelling.removeprefix("~"), category)
                for words in (term.words, *_joined(term)):
                    self.named.setdefault(words, named)
                    same = (False,) * len(words)
                    self._terms[spelling.startswith("~")].append(Term(category, words, same, same))

    def finish(self) -> None:
        """Makes names ready to be found."""
        self._sure, self._cued = Lexicon(self._terms[False]), Lexicon(self._terms[True])

    @property
    def words(self) -> set[str]:
        """All words of all spellings that need no cue."""
        return self._sure.words

    def find(self, text: list[str]) -> set[Named]:
        """The names in a list of tokens."""
        found = self._sure.matches(text)
        if (cued := self._cued.matches(text)) and self.cues.matches(text):
            found += cued
        return {self.named[match.term.words] for match in found}

    def spellings(self) -> list[tuple[str, ...]]:
        """The spellings of each name, as they are written in the lists."""
        return self._spellings

    def spelled(self, spelling: str) -> Named | None:
        """The name with this spelling."""
        return self.named.get(parse_term(spelling, "name").words)


def _joined(term: Term) -> Iterable[tuple[str, ...]]:
    """A Latin name of several words is found without the spaces as well."""
    joined = "".join(term.words)
    if len(term.words) > 1 and len(joined) >= _LEAST_JOINED and not any(map(is_cjk, term.words)):
        yield (joined,)
