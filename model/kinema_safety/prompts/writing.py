"""One spelling of a text, so that lists and the classifier meet each word in one form, however it was typed.

What is folded changes no meaning: forms of Unicode, case, accents, letters of other scripts that look like Latin ones,
traditional characters, marks that are not seen. Ways to hide a word are undone in `disguises`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Final

MOST_CHARACTERS: Final = 32_000
"""The longest text that is judged; the longest prompt of the API is shorter."""

_DATA: Final = files("kinema_safety.prompts") / "data"
_CJK: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ffff"
_MARKS: Final = "\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963"
_WORD: Final = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])[^\W_]|[{_MARKS}])+|[.,;:!?。、，；：！？\n]")
_BETWEEN_CJK: Final = re.compile(rf"(?<=[{_CJK}])[ _*·・|~^+=/\\-]+(?=[{_CJK}])")
_HARAKAT: Final = re.compile("[\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0640\u093c]")
_FOLDED: Final = str.maketrans("أإآٱىةؤئँ", "اااايهويं")
_CJK_ONE: Final = re.compile(rf"[{_CJK}]")
_NUMERALS: Final = str.maketrans("٠١٢٣٤٥٦٧٨٩०१२३४५६७८९", "01234567890123456789")
_ARTICLES: Final = re.compile("^(?:(?:وال|بال|فال|كال)(?=.{3})|لل(?=.{3})|ال(?=.{3})|و(?=.{4}))")

BREAKS: Final = frozenset(".,;:!?。、，；：！？\n")
"""Tokens that end a phrase: no term of several words reaches across."""


@cache
def _tables() -> tuple[dict[int, str], dict[int, str], frozenset[str]]:
    """Letters that look Latin, traditional characters, and letters that cannot be told from Latin ones at all."""
    content = json.loads((_DATA / "scripts.json").read_text(encoding="utf-8"))
    lookalikes = {ord(letter): latin for latin, letters in content["latin_lookalikes"].items() for letter in letters}
    pairs = content["traditional"]
    simplified = {ord(pairs[at]): pairs[at + 1] for at in range(0, len(pairs), 2)}
    return lookalikes, simplified, frozenset(content["cannot_be_told_apart"])


def normalised(text: str) -> str:
    """`text` in one spelling; idempotent, and at most eighteen times as long, as NFKC is (UAX 15).

    NFKC and case folding, no control or format characters, no accents on Latin, Greek and Cyrillic letters, no vowel
    marks of Arabic, look-alikes of Latin letters in words that are otherwise Latin, simplified characters, single
    spaces.
    """
    for _ in range(4):
        folded = _once(text)
        if folded == text:
            break
        text = folded
    return text


def _once(text: str) -> str:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = "".join(_kept(letter) for letter in unicodedata.normalize("NFD", text))
    text = unicodedata.normalize("NFC", _HARAKAT.sub("", text)).translate(_FOLDED).translate(_NUMERALS)
    text = text.translate(_tables()[1])
    if not text.isascii():
        text = re.sub(r"[^\s]+", lambda found: _latin(found[0]), text)
    text = re.sub(r"[^\S\n]+", " ", re.sub(r"\s*\n\s*", "\n", text)).strip()
    return _BETWEEN_CJK.sub("", text)


def _kept(letter: str) -> str:
    """Nothing for what is not seen; a space for what separates; accents go unless their script needs them."""
    category = unicodedata.category(letter)
    if category in ("Cf", "Cs", "Co", "Cn"):
        return ""
    if category == "Cc":
        return "\n" if letter == "\n" else " "
    if category == "Mn" and (
        letter < "\u0590" or "\u1ab0" <= letter <= "\u1dff" or "\u20d0" <= letter <= "\u20ff" or letter >= "\ufe00"
    ):
        return ""
    return letter


def _latin(word: str) -> str:
    """A word that mixes Latin letters with look-alikes, or has none but such as cannot be told apart, in Latin
    letters."""
    if word.isascii():
        return word
    lookalikes, _, twins = _tables()
    letters = [letter for letter in word if letter.isalpha()]
    if any(letter.isascii() for letter in letters) or all(letter in twins for letter in letters):
        return word.translate(lookalikes)
    return word


def tokens(text: str) -> list[str]:
    """Words of a normalised text, each Chinese character for itself, and the marks that end a phrase."""
    return [_ARTICLES.sub("", word) if "\u0600" <= word[0] <= "\u06ff" else word for word in _WORD.findall(text)]


def is_cjk(token: str) -> bool:
    """Whether a token is a Chinese character."""
    return len(token) == 1 and _CJK_ONE.match(token) is not None
