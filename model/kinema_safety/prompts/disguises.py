"""What a text may have been before somebody hid it: the texts that are judged beside the one that was sent.

Spaces between letters, digits and signs for letters, stars over them, repeated letters, text written backwards, and
text behind base64, hexadecimal digits, percent signs, HTML entities or rot13. Words are only rewritten into words
that a list knows, so that "35mm" and "4k" stay what they are.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
from collections.abc import Iterator
from itertools import islice, product
from typing import Final, Protocol
from urllib.parse import unquote

from kinema_safety.prompts.writing import MOST_CHARACTERS, normalised

MOST_VIEWS: Final = 10
"""Texts that are judged for one that was sent, at most; what is decoded is one text, however many pieces there are."""

_LEET: Final = {
    "0": "o", "1": "il", "3": "e", "4": "a", "5": "s", "6": "gb", "7": "t", "8": "b", "9": "g",
    "@": "a", "$": "s", "!": "i", "|": "il", "+": "t", "€": "e", "£": "l", "(": "c", "^": "a",
}  # fmt: skip
_CHUNK: Final = re.compile(r"\S+")
_MEASURE: Final = re.compile(r"\d+(?:[.,:x]\d+)*(?:[a-z]{1,3}|th|fps|mm)?")
_LETTER: Final = r"[a-z0-9@$!]"
_SIGN: Final = r"[._*|/\\,~+·•-]"
_APART: Final = re.compile(rf"(?<!\w){_LETTER}( ?{_SIGN} ?){_LETTER}(?:\1{_LETTER})+(?!\w)")
_SPACED: Final = re.compile(rf"(?<!\w){_LETTER}(?: {{1,3}}{_LETTER}(?!\w)){{2,}}")
_SPACED_CJK: Final = re.compile(r"(?:[\u4e00-\u9fff][.,;:!?。、，；：！？]){2,}[\u4e00-\u9fff]")
_BASE64: Final = re.compile(r"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{12,}={0,2})")
_HEX: Final = re.compile(r"(?<![0-9A-Fa-f])(?:0x)?((?:[0-9A-Fa-f]{2}[ :]?){8,})")
_OVERRIDE: Final = re.compile("[\u202e\u2067]([^\u202c\u2069]*)[\u202c\u2069]?")
_MOST_MASKED: Final = 200
_COMMON_WORDS: Final = (
    "the and with her his their who into from that while being show make video woman man people scene girl "
    "el la los las con una que por les des une dans avec qui der die das und mit eine ein von"
)
_SHORT_WORDS: Final = "a i of in on to is it at by an as he my me we"
_COMMON: Final = frozenset(_COMMON_WORDS.split())
_SHORT: Final = frozenset(_SHORT_WORDS.split())


class Vocabulary(Protocol):
    """The words of all lists."""

    def knows(self, word: str) -> bool:
        """Whether some term has this word, or a beginning of it."""

    def fits(self, masked: str) -> str | None:
        """A word whose letters are those of `masked` wherever that has no star."""


def views(text: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """The normalised text first, then what it may hide; at most `MOST_VIEWS`, none twice."""
    return tuple(dict.fromkeys(view for view in _all(text, vocabulary) if view)) or ("",)


def _all(text: str, vocabulary: Vocabulary) -> Iterator[str]:
    yield from _plain_and_repaired(text, vocabulary)
    if _OVERRIDE.search(text):
        yield from _plain_and_repaired(_OVERRIDE.sub(lambda found: found[1][::-1], text), vocabulary)
    for hidden in (once := decoded(text), decoded(once)):
        yield from _plain_and_repaired(hidden, vocabulary)
    for turned in (text[::-1], codecs.encode(text, "rot13")):
        view = normalised(turned)
        if _likeness(view, vocabulary) > _likeness(normalised(text), vocabulary):
            yield view


def _plain_and_repaired(text: str, vocabulary: Vocabulary) -> Iterator[str]:
    plain = normalised(text[:MOST_CHARACTERS])
    yield plain
    yield repaired(plain, vocabulary)


def _likeness(text: str, vocabulary: Vocabulary) -> int:
    """How many words look like a language that the lists know."""
    words = set(re.findall(r"[^\W\d_]{3,}", text))
    return sum(word in _COMMON or (len(word) > 4 and vocabulary.knows(word)) for word in words)


def decoded(text: str) -> str:
    """All that stands behind an encoding, line by line; no longer than the text but for the lines."""
    found = [part for match in _BASE64.finditer(text) if (part := _from_base64(match[0]))]
    found += [part for match in _HEX.finditer(text) if (part := _from_hex(match[1]))]
    if "%" in text and (plain := unquote(text, errors="replace")) != text:
        found.append(plain)
    if "&" in text and (plain := html.unescape(text)) != text:
        found.append(plain)
    return "\n".join(found)


def _from_base64(text: str) -> str | None:
    body = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return _readable(base64.b64decode(body + "=" * (-len(body) % 4), validate=True))
    except (binascii.Error, ValueError):
        return None


def _from_hex(text: str) -> str | None:
    try:
        return _readable(bytes.fromhex(re.sub(r"[ :]", "", text)))
    except ValueError:
        return None


def _readable(content: bytes) -> str | None:
    """The text in some bytes, if it is one: UTF-8, nearly all letters and spaces."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    good = sum(letter.isalnum() or letter.isspace() or letter in "',.-!?" or letter > "\u0900" for letter in text)
    return text if len(text) > 3 and good >= 0.9 * len(text) else None


def repaired(text: str, vocabulary: Vocabulary) -> str:
    """A normalised text with words that were taken apart, masked or written with digits put together again."""
    text = _APART.sub(lambda found: segmented(found[0].replace(found[1], ""), vocabulary), text)
    text = _SPACED.sub(lambda found: segmented(found[0].replace(" ", ""), vocabulary), text)
    text = _SPACED_CJK.sub(lambda found: re.sub(r"[^\u4e00-\u9fff]", "", found[0]), text)
    masked = 0
    parts, at = [], 0
    for chunk in _CHUNK.finditer(text):
        masked += not chunk[0].isalpha()
        parts.append(text[at : chunk.start()])
        parts.append(_word(chunk[0], vocabulary) if masked <= _MOST_MASKED else chunk[0])
        at = chunk.end()
    return _all_digits_as_letters("".join(parts) + text[at:])


def segmented(letters: str, vocabulary: Vocabulary) -> str:
    """Letters without spaces as the fewest known words; as they are if few words are found."""
    letters = "".join(_LEET.get(letter, letter)[0] for letter in letters) if not letters.isalpha() else letters
    if len(letters) > 400 or letters in _COMMON or vocabulary.knows(letters):
        return letters
    best: list[tuple[int, list[str]]] = [(0, [])]
    for end in range(1, len(letters) + 1):
        cost, words = best[end - 1]
        options = [(cost + 3, [*words, letters[end - 1]])]
        for begin in range(max(0, end - 16), end - 1):
            word = letters[begin:end]
            if word in _COMMON or word in _SHORT or (len(word) > 2 and vocabulary.knows(word)):
                options.append((best[begin][0] + 1, [*best[begin][1], word]))
        best.append(min(options, key=lambda option: option[0]))
    words = best[-1][1]
    return " ".join(words) if sum(len(word) > 1 for word in words) * 2 > len(words) else letters


def _word(chunk: str, vocabulary: Vocabulary) -> str:
    if chunk.isalpha():
        return _without_repeats(chunk, vocabulary)
    core = chunk.strip(".,;:?\"'“”)]}>")
    if not core or _MEASURE.fullmatch(core) or not re.search(r"[a-z]", core):
        return chunk
    for word in islice(_letters_for(core), 32):
        if len(word) > 2 and vocabulary.knows(word):
            return chunk.replace(core, word)
    if re.search(r"[*#_.+-]", core) and (listed := _unmasked(core, vocabulary)):
        return chunk.replace(core, listed)
    return chunk


def _without_repeats(word: str, vocabulary: Vocabulary) -> str:
    if not re.search(r"(.)\1\1", word):
        return word
    for once in (
        re.sub(r"(.)\1{2,}", r"\1", word),
        re.sub(r"(.)\1{2,}", r"\1\1", word),
        re.sub(r"(.)\1+", r"\1", word),
    ):
        if vocabulary.knows(once):
            return once
    return word


def _letters_for(chunk: str) -> Iterator[str]:
    for letters in product(*(_LEET.get(letter, letter) for letter in chunk)):
        word = "".join(letters)
        if word.isalpha():
            yield word


def _unmasked(chunk: str, vocabulary: Vocabulary) -> str | None:
    """A listed word behind stars, of which at least half is seen; else the chunk without signs between its letters."""
    if (bare := re.sub(r"[^a-z]", "", chunk)) and len(bare) > 3 and vocabulary.knows(bare):
        return bare
    if 3 <= len(chunk) <= 16 and re.fullmatch(r"[a-z][a-z*#_]*", chunk) and 2 * len(bare) >= len(chunk):
        return vocabulary.fits(re.sub(r"[#_]", "*", chunk))
    return None


def _all_digits_as_letters(text: str) -> str:
    """Where every fourth word has digits for letters, all of these are read as letters."""
    chunks = text.split(" ")
    mixed = [chunk for chunk in chunks if _is_mixed(chunk)]
    if len(mixed) < 3 or 4 * len(mixed) < len(chunks):
        return text
    return " ".join(
        "".join(_LEET.get(letter, letter)[0] for letter in chunk) if _is_mixed(chunk) else chunk for chunk in chunks
    )


def _is_mixed(chunk: str) -> bool:
    core = chunk.strip(".,;:?!")
    return bool(re.search(r"[a-z]", core) and re.search(r"[0-9@$]", core)) and not _MEASURE.fullmatch(core)
