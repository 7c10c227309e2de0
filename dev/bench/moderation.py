"""make bench NAME=moderation: what is refused of held-back prompts that ask for it, and of such that only sound alike.

`dev/moderation/held_back` was committed before the classifier; its families have no prompt in the training set. Beside
the whole stand lists alone and a plain list of keywords. Intervals are Wilson's, 95 %, and count prompts of a family as
independent, which they are not: 331 families of one writer tell less than as many prompts of many.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kinema_evaluation.bootstrap import wilson
from kinema_safety.prompts import PromptJudge, Texts
from kinema_safety.prompts.lists import KEYWORDS, REFUSING, lists
from kinema_safety.prompts.writing import normalised, tokens
from kinema_safety.verdict import Category
from moderation import evasions
from moderation.families import FINE, HELD_BACK, HERE, Example, read
from stage.measure import machine, percentile, result

BEST_SERVED: Final = ("en", "zh")
Refuses = Callable[[str], bool]


def say(what: str) -> None:
    """Progress, on standard error."""
    print(what, file=sys.stderr, flush=True)


def by_lists(text: str) -> bool:
    """Whether terms that refuse by themselves, or names, are in it."""
    words = tokens(normalised(text))
    return bool(lists().names.find(words)) or any(match.term.group in REFUSING for match in lists().terms(words))


def by_keywords(text: str) -> bool:
    """Whether any word of what is refused is in it."""
    words = tokens(normalised(text))
    groups = {*REFUSING, *(group for groups in KEYWORDS.values() for group in groups)}
    return bool(lists().names.find(words)) or any(match.term.group in groups for match in lists().terms(words))


def share(verdicts: Iterable[bool]) -> dict[str, float]:
    """The share of refused with its interval."""
    seen = list(verdicts)
    value = sum(seen) / len(seen) if seen else 0.0
    low, high = wilson(value, len(seen)) if seen else (0.0, 1.0)
    return {"share": round(value, 4), "low": round(low, 4), "high": round(high, 4), "of": len(seen)}


def by_language(examples: Sequence[Example], refused: Sequence[bool]) -> dict[str, dict[str, dict[str, float]]]:
    """Recall and false refusals of each language."""
    seen: dict[str, dict[str, list[bool]]] = defaultdict(lambda: {"recall": [], "false_refusals": [], "of_pairs": []})
    for example, verdict in zip(examples, refused, strict=True):
        seen[example.language]["false_refusals" if example.label == FINE else "recall"].append(verdict)
        if example.pair is not None:
            seen[example.language]["of_pairs"].append(verdict)
    return {language: {name: share(of) for name, of in rates.items()} for language, rates in sorted(seen.items())}


def by_category(examples: Sequence[Example], judge: PromptJudge) -> dict[str, dict[str, float]]:
    """Of each category how many are refused at all, and how many under its own name."""
    refused, named = defaultdict(list), defaultdict(list)
    for example in examples:
        if example.label != FINE:
            verdict = judge.judge(Texts(example.text))
            refused[example.label].append(verdict.refused)
            named[example.label].append(Category(example.label) in verdict.categories)
    return {
        label: {**share(refused[label]), "named": round(sum(named[label]) / len(named[label]), 4)} for label in refused
    }


def disguised(examples: Sequence[Example], refuses: Refuses) -> dict[str, dict[str, float]]:
    """Recall of each disguise, of prompts in English and in Chinese."""
    found = {}
    for language, kinds in (("en", evasions.LATIN), ("zh", evasions.CHINESE)):
        asked = [example.text for example in examples if example.language == language and example.label != FINE]
        for kind, disguise in kinds.items():
            found[f"{language}: {kind}"] = share(refuses(disguise(text)) for text in asked)
            say(f"{language}: {kind}: {found[f'{language}: {kind}']}")
    return found


def unlisted(refuses: Refuses) -> dict[str, dict[str, float]]:
    """People and characters of no list, in prompts that are refused for those who are listed."""
    names = json.loads((HERE / "unlisted.json").read_text(encoding="utf-8"))
    return {kind: share(refuses(f"{name} dances in the rain") for name in of) for kind, of in names.items()}


def main() -> int:
    """Entry point."""
    judge, examples = PromptJudge(), read(HELD_BACK)
    seconds: list[float] = []

    def refuses(text: str) -> bool:
        began = time.perf_counter()
        verdict = judge.judge(Texts(text)).refused
        seconds.append(time.perf_counter() - began)
        return verdict

    verdicts = [refuses(example.text) for example in examples]
    languages = by_language(examples, verdicts)
    for language, rates in languages.items():
        say(f"{language}: {rates}")
    quick = percentile(seconds, 50)
    missed = Counter((e.language, e.label) for e, v in zip(examples, verdicts, strict=True) if v == (e.label == FINE))
    say(f"wrong: {dict(missed)}")
    hidden = disguised(examples, refuses)
    alone = by_language(examples, [by_lists(example.text) for example in examples])
    keywords = by_language(examples, [by_keywords(example.text) for example in examples])
    seed = {
        language: share(refuses(line) for line in (HERE / f"seed-{language}.txt").read_text().splitlines())
        for language in BEST_SERVED
    }
    asked = [e for e in examples if e.label != FINE and e.language in BEST_SERVED]
    result(
        "moderation",
        machine=machine(),
        recall_en=languages["en"]["recall"]["share"],
        recall_zh=languages["zh"]["recall"]["share"],
        false_refusals_en=languages["en"]["false_refusals"]["share"],
        false_refusals_zh=languages["zh"]["false_refusals"]["share"],
        recall_min=min(rates["recall"]["share"] for rates in languages.values()),
        false_refusals_max=max(rates["false_refusals"]["share"] for rates in languages.values()),
        evasion_min=min(rates["share"] for rates in hidden.values()),
        baseline_recall=share(by_lists(example.text) for example in asked)["share"],
        prompts=len(examples),
        families=len({example.family for example in examples}),
        harmless=sum(example.label == FINE for example in examples),
        pairs=sum(example.pair is not None for example in examples),
        languages=languages,
        categories=by_category(examples, judge),
        evasions=hidden,
        lists_alone=alone,
        keywords=keywords,
        unlisted_names=unlisted(refuses),
        seed_refused={language: int(of["share"] * of["of"]) for language, of in seed.items()},
        p50_ms=round(1000 * quick, 2),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
