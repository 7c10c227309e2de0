"""The rule of minors: a term of age and a term of sex in one text. No text of this category was written to make it.

It is a rule and no classifier, since nothing may be written that a classifier could learn it from. It is blunt: a
harmless text that has both is refused, and no policy switches it off.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

from kinema_safety.prompts.lists import HARMLESS
from kinema_safety.prompts.terms import Lexicon, Match, outside, read_groups

OF_AGE: Final = 18
OF_SEX: Final = frozenset({"sexual", "nudity", "undress"})
"""Groups of the languages' terms that count as terms of sex; `data/sex.txt` has the others."""

_ENGLISH: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
_WORDS: Final = {word: number for number, word in enumerate(_ENGLISH.split())}
_CHINESE: Final = "零一二三四五六七八九"
_AGE: Final = re.compile(
    r"(?<!\d)(\d{1,2}|"
    + "|".join(_WORDS)
    + r")[ -]*(?:years?|yrs?|yo\b|y/o|anos|ans\b|jahre|jahrig|साल|वर्ष|سنه|سنوات|عاما|岁|歲)"
)
_CHINESE_AGE: Final = re.compile(r"(?<![零一二三四五六七八九十\d])(十[一二三四五六七八九]?|[一二三四五六七八九])[岁歲]")
_AGED: Final = re.compile(r"\b(?:aged?|age of)[ :]*(\d{1,2})(?!\d)")


@cache
def _terms(name: str) -> Lexicon:
    content = (files("kinema_safety.prompts") / "data" / name).read_text(encoding="utf-8")
    return Lexicon(list(read_groups(content, name)))


def combines(of_age: bool, of_sex: bool) -> bool:
    """The rule itself."""
    return of_age and of_sex


def names_age(text: str, words: list[str]) -> bool:
    """Whether a normalised text, whose tokens are `words`, tells of somebody under 18: by a word, or by years."""
    return bool(_terms("age.txt").matches(words)) or any(years < OF_AGE for years in _years(text))


def _years(text: str) -> list[int]:
    found = [_WORDS[one] if one in _WORDS else int(one) for one in _AGE.findall(text)]
    found += [int(one) for one in _AGED.findall(text)]
    for digits in _CHINESE_AGE.findall(text):
        ones = _CHINESE.index(digits[-1]) if digits[-1] in _CHINESE else 0
        found.append(10 + ones if digits.startswith("十") else ones)
    return found


def names_sex(words: list[str], matches: list[Match]) -> bool:
    """Whether one of the terms of a text is of sex or nudity; `matches` are those of the lists, none in a harmless
    phrase."""
    if any(match.term.group in OF_SEX for match in matches):
        return True
    harmless = [match for match in matches if match.term.group == HARMLESS]
    return bool(outside(_terms("sex.txt").matches(words), harmless))


def breaks_rule(text: str, words: list[str], matches: list[Match]) -> bool:
    """Whether a normalised text is refused by the rule, given its tokens and the terms of the lists in it."""
    return combines(names_age(text, words), names_sex(words, matches))
