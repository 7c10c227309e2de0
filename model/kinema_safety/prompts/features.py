"""What the classifier sees of a text: concepts of the lists, alone and in pairs, words, and character n-grams.

A pair of concepts tells "weapon" beside "museum" from "weapon" beside "victim" in every language at once, also in
those of few training prompts. N-grams and words are hashed, so that the weights have one size whatever was trained on.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinema_safety.prompts.lists import CONCEPTS, KEYWORDS, REFUSING, Lists
from kinema_safety.prompts.terms import Match
from kinema_safety.prompts.writing import BREAKS

BUCKETS: Final = 1 << 18
LONGEST_GRAM: Final = 5
GROUPS: Final = (*CONCEPTS, *REFUSING)
PAIRS: Final = tuple(combinations(range(len(GROUPS)), 2))
CONCEPT_FEATURES: Final = 1 + 2 * len(GROUPS) + len(PAIRS)
"""Whether no term of what is refused is there; of each group whether it is there and whether two of its terms are; of
each pair of groups whether both are."""

_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xD6E8FEB86659FD93)
_CHARACTERS: Final = 0.7
_WORDS: Final = 0.8
_CONCEPTS: Final = 0.5
_PAIR: Final = 0.25
_NOTHING: Final = 2.0

Floats = NDArray[np.float32]
_PLACES: Final = np.array(PAIRS)


@dataclass(frozen=True)
class Features:
    """Of one text: buckets and their values, both of shape (n,), and concepts, of shape (CONCEPT_FEATURES,)."""

    buckets: NDArray[np.int64]
    values: Floats
    concepts: Floats


def features(words: list[str], matches: list[Match]) -> Features:
    """Features of the tokens of a text, and of the terms in it."""
    text = " ".join(words)
    blocks = [(_grams(text), _CHARACTERS), (_words(words), _WORDS)]
    buckets, values = zip(*(_weighed(block, weight) for block, weight in blocks), strict=True)
    return Features(np.concatenate(buckets), np.concatenate(values), _concepts(matches))


def _weighed(hashes: NDArray[np.int64], weight: float) -> tuple[NDArray[np.int64], Floats]:
    """Each bucket once, with the logarithm of its count, scaled to length `weight`."""
    buckets, counts = np.unique(hashes, return_counts=True)
    values = np.log1p(counts)
    length = np.sqrt(np.sum(values**2)) or 1.0
    return buckets, (weight * values / length).astype(np.float32)


def _grams(text: str) -> NDArray[np.int64]:
    """Buckets of all n-grams of one to five characters."""
    points = np.frombuffer(f" {text} ".encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    found = []
    rolling = np.zeros(len(points), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for size in range(1, LONGEST_GRAM + 1):
            if len(points) < size:
                break
            rolling = rolling[: len(points) - size + 1] * _PRIME + points[size - 1 :] + np.uint64(size)
            mixed = (rolling ^ (rolling >> np.uint64(29))) * _MIX
            found.append((mixed >> np.uint64(64 - 18)).astype(np.int64))
    return np.concatenate(found)


def _words(words: list[str]) -> NDArray[np.int64]:
    """Buckets of words and of pairs of words that stand side by side."""
    kept = [word for word in words if word not in BREAKS]
    named = [f"w {word}" for word in kept] + [f"b {one} {other}" for one, other in pairwise(kept)]
    return np.array([zlib.crc32(name.encode()) % BUCKETS for name in named], dtype=np.int64)


def _concepts(matches: list[Match]) -> Floats:
    there, twice = np.zeros(len(GROUPS), dtype=np.float32), np.zeros(len(GROUPS), dtype=np.float32)
    for group, _ in {(match.term.group, match.term.words) for match in matches}:
        place = _INDEX[group]
        twice[place] = there[place]
        there[place] = 1.0
    nothing = np.array([not there[_HARMFUL].any()], dtype=np.float32)
    both = there[_PLACES[:, 0]] * there[_PLACES[:, 1]]
    return np.concatenate([_NOTHING * nothing, _CONCEPTS * there, _CONCEPTS * twice, _PAIR * both]).astype(np.float32)


_INDEX: Final = {group: place for place, group in enumerate(GROUPS)}
_HARMFUL: Final = [
    _INDEX[group] for group in (*(g for groups in KEYWORDS.values() for g in groups), "blood", *REFUSING)
]


def read_by(lists: Lists, words: list[str]) -> Features:
    """Features of the tokens of a text."""
    return features(words, lists.terms(words))
