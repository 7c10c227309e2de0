"""A linear classifier of texts, read from numbers alone: no pickle, and nothing but numpy to run it.

`dev/moderation` trains it. `classifier.npz` has the weights, `classifier.json` what they belong to.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinema_safety.errors import ClassifierUnreadable
from kinema_safety.prompts.features import BUCKETS, CONCEPT_FEATURES, GROUPS, Features
from kinema_safety.prompts.lists import REFUSING
from kinema_safety.verdict import Category

ANY: Final = "any"
HEADS: Final = (ANY, *REFUSING)
"""Whether a text is to be refused at all, then each category."""
WEIGHTS: Final = "classifier.npz"
CARD: Final = "classifier.json"

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Classifier:
    """Weights of shape (heads, buckets) and (heads, concept features), one bias for each head, and the files'
    digest."""

    hashed: Floats
    concepts: Floats
    bias: Floats
    digest: str

    def scores(self, of: Features) -> dict[Category, float]:
        """A probability for each category; the likeliest gets that of being refused at all, where it is higher."""
        logits = self.hashed[:, of.buckets].astype(np.float32) @ of.values + self.concepts @ of.concepts + self.bias
        shares = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -30, 30)))
        scores = {Category(head): float(share) for head, share in zip(HEADS[1:], shares[1:], strict=True)}
        likeliest = max(scores, key=lambda category: scores[category])
        scores[likeliest] = max(scores[likeliest], float(shares[0]))
        return scores


@cache
def classifier() -> Classifier:
    """The classifier of the package, read at the first call."""
    return read(files("kinema_safety.prompts") / "data")


def read(folder: Traversable) -> Classifier:
    """Raises `ClassifierUnreadable` if a file is missing or damaged, or the weights were made for other features."""
    try:
        weights, card = (folder / WEIGHTS).read_bytes(), json.loads((folder / CARD).read_bytes())
        with np.load(io.BytesIO(weights), allow_pickle=False) as arrays:
            parts = {name: arrays[name] for name in ("hashed", "concepts", "bias")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ClassifierUnreadable(
            f"{WEIGHTS} or {CARD} cannot be read ({type(error).__name__}). Install the package again."
        ) from None
    digest = "sha256:" + hashlib.sha256(weights).hexdigest()
    shapes = {"hashed": (len(HEADS), BUCKETS), "concepts": (len(HEADS), CONCEPT_FEATURES), "bias": (len(HEADS),)}
    wrong = [name for name, shape in shapes.items() if parts[name].shape != shape]
    if wrong or card.get("weights") != digest or card.get("groups") != list(GROUPS):
        raise ClassifierUnreadable(
            f"{WEIGHTS} and {CARD} do not belong to these lists or to each other. Train them again: dev/moderation."
        )
    return Classifier(parts["hashed"], parts["concepts"].astype(np.float32), parts["bias"], digest)
