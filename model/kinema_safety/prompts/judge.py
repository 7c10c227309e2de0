"""Judges the texts of a request: lists, the rule of minors, the classifier and, where there is one, an endpoint.

Any signal refuses by itself. A verdict says which did, in what category and where, and never holds any of the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kinema_safety.errors import PromptTooLong
from kinema_safety.policy import THRESHOLD, Policy, Rules
from kinema_safety.prompts import minors, negative
from kinema_safety.prompts.classifier import Classifier, classifier
from kinema_safety.prompts.disguises import views
from kinema_safety.prompts.endpoint import TextEndpoint
from kinema_safety.prompts.features import features
from kinema_safety.prompts.lists import REFUSING, Lists, lists
from kinema_safety.prompts.terms import Lexicon, Match, outside, parse_term
from kinema_safety.prompts.writing import MOST_CHARACTERS, tokens
from kinema_safety.verdict import Category, Finding, Part, Place, Signal, Verdict

WINDOW: Final = 80
"""Tokens that the classifier sees at once of a longer text, beside the whole: a sentence must not drown in many
others."""
STRIDE: Final = 40


@dataclass(frozen=True)
class Texts:
    """All texts of a request. What the model will encode in place of the prompt is `expanded_prompt`."""

    prompt: str
    negative_prompt: str = ""
    shots: tuple[str, ...] = ()
    expanded_prompt: str = ""

    def parts(self) -> list[tuple[Place, str]]:
        """Each text that is not empty, with its place, but for the negative prompt."""
        named = [(Place(Part.PROMPT), self.prompt), (Place(Part.EXPANDED_PROMPT), self.expanded_prompt)]
        shots = [(Place(Part.SHOT, number), text) for number, text in enumerate(self.shots, 1)]
        return [(place, text) for place, text in (*named, *shots) if text.strip()]


@dataclass(frozen=True)
class _View:
    """One text that a text may be meant as: its tokens, and the terms of the lists in them."""

    place: Place
    text: str
    words: list[str]
    matches: list[Match]


class PromptJudge:
    """Judges by one policy. Reading lists and weights takes a fraction of a second, once for all judges."""

    def __init__(self, policy: Policy | None = None, endpoint: TextEndpoint | None = None) -> None:
        """Raises `TermsRefused` for a term of the policy that has no letters."""
        self._policy = policy or Policy()
        self._endpoint = endpoint
        self._lists: Lists = lists()
        self._classifier: Classifier = classifier()
        self._own = Lexicon([parse_term(term, own.category) for own in self._policy.lists for term in own.terms])

    def judge(self, texts: Texts, namespace: str | None = None) -> Verdict:
        """Raises `PromptTooLong` for a text of more than 32,000 characters; what the endpoint raises passes through."""
        rules = self._policy.rules(namespace)
        parts = texts.parts()
        _check_lengths([*parts, (Place(Part.NEGATIVE_PROMPT), texts.negative_prompt)])
        if kept := negative.sentences(texts.negative_prompt):
            parts.append((Place(Part.NEGATIVE_PROMPT), kept))
        seen = [view for place, text in parts for view in self._views(place, text)]
        found = [*self._minors(seen), *self._by_terms(seen, rules), *self._by_classifier(seen, rules)]
        if negative.wants_uncovered(texts.negative_prompt):
            found.append(Finding(Category.SEXUAL, Signal.RULE, Place(Part.NEGATIVE_PROMPT)))
        if self._endpoint is not None:
            found += _by_endpoint(parts, self._endpoint.scores([text for _, text in parts]), rules)
        kept_findings = [one for one in found if one.category == Category.MINORS or one.category not in rules.disabled]
        return Verdict(_strongest(kept_findings), self._policy.digest, self._classifier.digest)

    def _views(self, place: Place, text: str) -> Iterator[_View]:
        for view in views(text, self._lists):
            words = tokens(view)
            yield _View(place, view, words, self._lists.terms(words))

    def _minors(self, seen: Sequence[_View]) -> Iterator[Finding]:
        """Age in one text and sex in another of the same request are as if they stood in one."""
        of_age = any(minors.names_age(view.text, view.words) for view in seen)
        for view in seen:
            if minors.combines(of_age, minors.names_sex(view.words, view.matches)):
                yield Finding(Category.MINORS, Signal.RULE, view.place)

    def _by_terms(self, seen: Sequence[_View], rules: Rules) -> Iterator[Finding]:
        allowed_names = {named for spelling in rules.allow if (named := self._lists.names.spelled(spelling))}
        for view in seen:
            matches = self._allowed(view, view.matches, rules)
            for match in matches:
                if match.term.group in REFUSING:
                    yield Finding(Category(match.term.group), Signal.LIST, view.place)
            for named in self._lists.names.find(view.words) - allowed_names:
                yield Finding(named.category, Signal.LIST, view.place)
            for match in self._allowed(view, self._own.matches(view.words), rules):
                yield Finding(Category(match.term.group), Signal.OWN_LIST, view.place)

    def _allowed(self, view: _View, matches: list[Match], rules: Rules) -> list[Match]:
        """Matches without those that a phrase of the allow-list contains."""
        if not rules.allow or not matches:
            return matches
        allowed = Lexicon([parse_term(phrase, "allow") for phrase in rules.allow])
        return outside(matches, allowed.matches(view.words))

    def _by_classifier(self, seen: Sequence[_View], rules: Rules) -> Iterator[Finding]:
        for view in seen:
            for category, score in self._scores(view).items():
                if score >= rules.thresholds.get(category, THRESHOLD):
                    yield Finding(category, Signal.CLASSIFIER, view.place, score)

    def _scores(self, view: _View) -> Mapping[Category, float]:
        """The highest score of each category, of the whole text and of its windows."""
        best: dict[Category, float] = {}
        for begin, end in _windows(len(view.words)):
            matches = [match for match in view.matches if begin <= match.begin and match.end <= end]
            for category, score in self._classifier.scores(features(view.words[begin:end], matches)).items():
                best[category] = max(best.get(category, 0.0), score)
        return best


def _windows(length: int) -> Iterator[tuple[int, int]]:
    yield 0, length
    if length > WINDOW:
        yield from ((begin, min(begin + WINDOW, length)) for begin in range(0, length - STRIDE, STRIDE))


def _check_lengths(parts: Sequence[tuple[Place, str]]) -> None:
    for place, text in parts:
        if len(text) > MOST_CHARACTERS:
            raise PromptTooLong(f"{place} has {len(text)} characters; at most {MOST_CHARACTERS}. Shorten it.")


def _by_endpoint(
    parts: Sequence[tuple[Place, str]], scores: Sequence[Mapping[Category, float]], rules: Rules
) -> Iterator[Finding]:
    for (place, _), of in zip(parts, scores, strict=True):
        for category, score in of.items():
            if score >= rules.thresholds.get(category, THRESHOLD):
                yield Finding(category, Signal.ENDPOINT, place, score)


def _strongest(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """One finding of each category, signal and place, that of the highest score, in the order in which they came."""
    best: dict[tuple[Category, Signal, Place], Finding] = {}
    for one in found:
        key = (one.category, one.signal, one.place)
        if key not in best or one.score > best[key].score:
            best[key] = one
    return tuple(best.values())
