"""The lists that come with the package: terms by language and group, names of people and of characters.

Groups with the name of a category refuse by themselves; all others are concepts, which the classifier weighs against
each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Final

from kinema_safety.errors import TermsRefused
from kinema_safety.prompts.names import Names
from kinema_safety.prompts.terms import Lexicon, Match, Term, outside, parse_term, read_groups
from kinema_safety.verdict import Category

_DATA: Final = files("kinema_safety.prompts") / "data"
LATIN: Final = ("en", "es", "fr", "de")
LANGUAGES: Final = (*LATIN, "zh", "hi", "ar")
HARMLESS: Final = "harmless"
REFUSING: Final = (Category.VIOLENCE, Category.SEXUAL, Category.HATE, Category.SELF_HARM)
NAMES: Final = (Category.PUBLIC_FIGURES, Category.IP)
KEYWORDS: Final = {
    Category.VIOLENCE: ("gore", "killing", "atrocity", "torture", "cruelty", "corpse"),
    Category.SEXUAL: ("sex-act", "nudity", "undress", "erotic", "body"),
    Category.HATE: ("hate-symbol", "demeaning"),
    Category.SELF_HARM: ("suicide", "self-injury", "starvation"),
}
"""Concepts that a list of keywords would refuse by: what the classifier is compared with."""
CONCEPTS: Final = (
    *(group for groups in KEYWORDS.values() for group in groups),
    "blood",
    "weapon",
    "conflict",
    "groups",
    "glorify",
    "imitation",
    "person",
    "medical",
    "art",
    "news",
    "history",
    "film",
    "prevention",
    "food",
    "nature",
    "sport",
    "fantasy",
    HARMLESS,
)
_FOREIGN_LETTERS: Final = 6
_LONGEST_ENDING: Final = 3
_STOPWORDS: Final = {
    "en": "the a an and of in on at with to for by is are was from his her their that this who into as it",
    "es": "el la los las un una unos de del en con y que por para su sus al es son se como mientras sobre muy",
    "fr": "le la les un une des du de et dans avec qui que pour par sur sous son sa ses au aux est sont en l d se",
    "de": "der die das den dem ein eine einen einem einer und in im mit von zu auf fur ist sind sich aus bei wie am",
}


def languages(words: Iterable[str]) -> set[str]:
    """Languages of Latin script whose commonest words a text has most of; all where it has none."""
    seen = list(words)
    counts = {language: sum(word in stop for word in seen) for language, stop in _stopwords().items()}
    most = max(counts.values())
    return {language for language, count in counts.items() if count == most}


@cache
def _stopwords() -> dict[str, frozenset[str]]:
    return {language: frozenset(words.split()) for language, words in _STOPWORDS.items()}


class Lists:
    """All terms and names. Read once; see `lists`."""

    def __init__(self) -> None:
        terms = [term for one in LANGUAGES for term in read_groups(_read(f"terms/{one}.txt"), f"terms/{one}.txt", one)]
        for term in terms:
            if term.group not in (*CONCEPTS, *REFUSING):
                raise TermsRefused(f"terms/{term.language}.txt: there is no group {term.group}. Use one of lists.py.")
        self._terms = tuple(terms)
        self._lexicon = Lexicon(terms)
        self.names = Names(Lexicon([parse_term(line, "cue") for line in _lines("names/cues.txt")]))
        for category in NAMES:
            self.names.read(_lines(f"names/{category}.txt"), category)
        self.names.finish()
        self._by_length: dict[int, dict[str, bool]] = defaultdict(dict)
        for term in terms:
            for word, stem in zip(term.words, term.stems, strict=True):
                if word.isascii() and len(word) > 2:
                    of_length = self._by_length[len(word)]
                    of_length[word] = of_length.get(word, False) or stem
        for word in sorted(self.names.words):
            if word.isascii() and len(word) > 3:
                self._by_length[len(word)].setdefault(word, False)

    def knows(self, word: str) -> bool:
        """Whether some term has this word."""
        return self._lexicon.knows(word) or word in self.names.words

    def all_terms(self) -> tuple[Term, ...]:
        """Every term of every language."""
        return self._terms

    def fits(self, masked: str) -> str | None:
        """A listed word whose letters are those of `masked` wherever that has no star; English words first."""
        for ending in range(_LONGEST_ENDING + 1):
            for word, stem in self._by_length.get(len(masked) - ending, {}).items():
                if (stem or not ending) and all(a in ("*", b) for a, b in zip(masked, word, strict=False)):
                    return word + masked[len(word) :].replace("*", "")
        return None

    def terms(self, text: list[str]) -> list[Match]:
        """Terms in a text, without those that stand in a harmless phrase. Short words count in their own language
        only."""
        found = self._lexicon.matches(text)
        if any(match.term.language in LATIN for match in found):
            foreign = set(LATIN) - languages(text)
            found = [match for match in found if match.term.language not in foreign or _travels(match.term)]
        harmless = [match for match in found if match.term.group == HARMLESS]
        return [*outside([match for match in found if match.term.group != HARMLESS], harmless), *harmless]


def _travels(term: Term) -> bool:
    """Whether a term counts in a text of another language: no beginning of a word alone, and nothing that is short."""
    sure = len(term.words) > 1 or not term.stems[0]
    return sure and term.letters >= _FOREIGN_LETTERS and term.group != HARMLESS


@cache
def lists() -> Lists:
    """The lists of the package, read at the first call."""
    return Lists()


def _read(name: str) -> str:
    return (_DATA / name).read_text(encoding="utf-8")


def _lines(name: str) -> list[str]:
    return [line.strip() for line in _read(name).splitlines() if line.strip() and not line.startswith("#")]
