"""Trains the classifier of prompts on `training/` and writes it into the package.

    uv run dev/moderation/train.py [--folds]

scikit-learn runs in an environment of its own (the lines below tell uv which): with it comes scipy, which every worker
process of the development environment would import, and which nothing else here needs. `--folds` trains on four fifths
of the families and judges the others, five times; nothing reads `held_back/` here.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy>=2", "pydantic>=2.11", "pyyaml>=6", "scikit-learn==1.9.1", "scipy>=1.16"]
# ///

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "model"), str(ROOT / "dev")]

from kinema_safety.prompts import classifier as package  # noqa: E402
from kinema_safety.prompts.features import BUCKETS, GROUPS, Features, read_by  # noqa: E402
from kinema_safety.prompts.lists import lists  # noqa: E402
from kinema_safety.prompts.writing import normalised, tokens  # noqa: E402
from moderation.families import FINE, TRAINING, Example, digest, read  # noqa: E402

DATA: Final = ROOT / "model" / "kinema_safety" / "prompts" / "data"
FOLDS: Final = 5
STRENGTH: Final = 4.0
"""C of scikit-learn's LogisticRegression: the inverse of how strongly weights are held near zero."""
OTHER_WEIGHT: Final = 0.2
"""Of a prompt of another category, when a category is trained: it may well belong to both."""
SHARE_AMONG_OTHERS: Final = 0.6
# What users append to any prompt: it must tell nothing.
STYLES: Final = {
    "en": [
        "cinematic, 4k",
        "35mm film",
        "shot on a phone",
        "hyperrealistic, slow motion",
        "anime style",
        "dark, moody",
    ],
    "zh": ["电影质感，4K", "写实风格", "手机拍摄", "慢镜头，高清", "动漫风格", "昏暗的光线"],
    "es": ["cinematográfico, 4k", "cámara lenta", "estilo anime", "muy realista"],
    "fr": ["cinématographique, 4k", "ralenti", "style anime", "très réaliste"],
    "de": ["filmisch, 4k", "Zeitlupe", "Anime-Stil", "sehr realistisch"],
    "hi": ["सिनेमाई, 4k", "धीमी गति", "एनीमे शैली"],
    "ar": ["سينمائي، 4k", "حركة بطيئة", "أسلوب أنمي"],
}


def varied(examples: Sequence[Example]) -> list[Example]:
    """The examples, each with a style behind it as well, and among one to five harmless ones of its language."""
    chance = random.Random(7)
    fine: dict[str, list[str]] = {}
    for example in examples:
        if example.label == FINE:
            fine.setdefault(example.language, []).append(example.text)
    more = list(examples)
    for example in examples:
        more.append(replace(example, text=f"{example.text}, {chance.choice(STYLES[example.language])}"))
        if chance.random() < SHARE_AMONG_OTHERS:
            texts = [example.text, *chance.choices(fine[example.language], k=chance.randint(1, 5))]
            chance.shuffle(texts)
            more.append(replace(example, text=". ".join(texts)))
    return more


def matrix(examples: Sequence[Example]) -> Any:
    """Hashed features and, behind them, concepts: sparse, of shape (examples, BUCKETS + CONCEPT_FEATURES)."""
    from scipy.sparse import csr_matrix

    of: list[Features] = [read_by(lists(), tokens(normalised(example.text))) for example in examples]
    rows, columns, values = [], [], []
    for row, found in enumerate(of):
        there = np.flatnonzero(found.concepts)
        columns += [found.buckets, there + BUCKETS]
        values += [found.values, found.concepts[there]]
        rows.append(np.full(len(found.buckets) + len(there), row))
    shape = (len(of), BUCKETS + len(of[0].concepts))
    return csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape)


def fit(examples: Sequence[Example], features: Any, heads: Sequence[str] = package.HEADS) -> package.Classifier:
    """One logistic regression for each head, of rows of `matrix`. Refused and harmless prompts count alike."""
    from sklearn.linear_model import LogisticRegression

    refused = np.array([example.label != FINE for example in examples])
    weights = _language_weights(examples)
    coefficients, biases = [], []
    for head in heads:
        wanted = refused if head == package.ANY else np.array([example.label == head for example in examples])
        weight = np.where(refused & ~wanted, OTHER_WEIGHT, 1.0) * weights
        weight[wanted] *= weight[~wanted].sum() / weight[wanted].sum()
        model = LogisticRegression(C=STRENGTH, solver="lbfgs", max_iter=60, tol=1e-3).fit(features, wanted, weight)
        coefficients.append(model.coef_[0])
        biases.append(model.intercept_[0])
    table = np.array(coefficients, dtype=np.float32)
    return package.Classifier(table[:, :BUCKETS], table[:, BUCKETS:], np.array(biases, dtype=np.float32), "new")


def _language_weights(examples: Sequence[Example]) -> Any:
    counts: dict[str, int] = {}
    for example in examples:
        counts[example.language] = counts.get(example.language, 0) + 1
    return np.array([(len(examples) / len(counts) / counts[example.language]) ** 0.5 for example in examples])


def write(model: package.Classifier, examples: Sequence[Example]) -> None:
    """Weights as float16, which changes no verdict of the training set, and the card that belongs to them."""
    with (DATA / package.WEIGHTS).open("wb") as file:
        np.savez_compressed(
            file,
            hashed=model.hashed.astype(np.float16),
            concepts=model.concepts.astype(np.float16),
            bias=model.bias,
        )
    weights = (DATA / package.WEIGHTS).read_bytes()
    card = {
        "weights": "sha256:" + hashlib.sha256(weights).hexdigest(),
        "trained_on": digest(examples),
        "prompts": len(examples),
        "families": len({example.family for example in examples}),
        "heads": list(package.HEADS),
        "groups": list(GROUPS),
        "licence": "Apache-2.0; trained on prompts that were written for Kinema (dev/moderation/training)",
    }
    (DATA / package.CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def report(examples: Sequence[Example]) -> None:
    """Recall and false refusals of each language at a threshold of one half, of families that were not trained on."""
    more = varied(examples)
    features = matrix(more)
    families = sorted({example.family for example in examples})
    random.Random(1).shuffle(families)
    tally: dict[tuple[str, bool], list[bool]] = {}
    for fold in range(FOLDS):
        judged = set(families[fold::FOLDS])
        rows = [row for row, example in enumerate(more) if example.family not in judged]
        model = fit([more[row] for row in rows], features[rows], [package.ANY])
        for row, example in enumerate(examples):
            if example.family in judged:
                logit = features[row, :BUCKETS] @ model.hashed[0] + features[row, BUCKETS:] @ model.concepts[0]
                tally.setdefault((example.language, example.label != FINE), []).append(logit[0] + model.bias[0] > 0)
    for (language, refused), verdicts in sorted(tally.items()):
        print(f"{language} {'recall' if refused else 'false refusals'}: {np.mean(verdicts):.3f} of {len(verdicts)}")


def main(arguments: Sequence[str]) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--folds", action="store_true", help="judge each fifth of the families by the others; write nothing"
    )
    asked = parser.parse_args(arguments)
    examples = read(TRAINING)
    if asked.folds:
        report(examples)
        return 0
    more = varied(examples)
    write(fit(more, matrix(more)), examples)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
