"""How a model reads a prompt: the text beyond its limit, and the words that were not in its training.

A model of a small world draws something for any prompt, so a client is told which words it has never seen.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kinema_model.text.encoder import TextEncoder

READING_FILE: Final = "reading.json"
LANGUAGES: Final = ("English",)
"""What the text encoder was trained on."""
MAX_UNSEEN: Final = 32
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


@dataclass(frozen=True)
class Reading:
    """What a model reads of a prompt."""

    tokens: int
    """Tokens that the model encodes."""
    cut: str
    """The end of the prompt, which is cut off."""
    unseen: tuple[str, ...]
    """Words that occur in no caption of the training, each once, at most MAX_UNSEEN."""


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, in order, each once."""
    return list(dict.fromkeys(_WORD.findall(text.lower())))


def vocabulary(texts: Iterable[str]) -> tuple[str, ...]:
    """The words of all texts, sorted."""
    known: set[str] = set()
    for text in texts:
        known.update(words_of(text))
    return tuple(sorted(known))


def write_vocabulary(folder: Path, words: tuple[str, ...]) -> None:
    """Write the words of a model beside its weights."""
    content = {"languages": list(LANGUAGES), "words": list(words)}
    (folder / READING_FILE).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def known_words(folder: Path) -> frozenset[str] | None:
    """Words that a model was trained on; None where they are not written in its folder."""
    try:
        content = json.loads((folder / READING_FILE).read_text(encoding="utf-8"))
        return frozenset(str(word) for word in content["words"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read(prompts: list[str], encoder: TextEncoder, known: frozenset[str]) -> Reading:
    """What a model reads of the prompts of a clip's shots. Raises as `TextEncoder.extent`."""
    heard, cut = 0, ""
    for prompt in prompts:
        tokens, rest = encoder.extent(prompt)
        heard, cut = max(heard, tokens), cut or rest
    said = words_of(" ".join(prompts))
    unseen = tuple(word for word in said if known and word not in known)
    return Reading(heard, cut, unseen[:MAX_UNSEEN])
