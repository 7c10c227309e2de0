"""A verdict says what is refused, by which signal and where; it never holds any of the text."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import pytest

from kinema_safety.errors import ClassifierUnreadable, PromptTooLong
from kinema_safety.policy import Policy
from kinema_safety.prompts import PromptJudge, Texts
from kinema_safety.prompts import classifier as classifiers
from kinema_safety.prompts.writing import MOST_CHARACTERS
from kinema_safety.verdict import Category, Part, Place, Signal
from moderation import evasions
from moderation.families import FINE, HELD_BACK, HERE, MOST, TRAINING, read

FORBIDDEN = "a masked killer stabs a woman again and again, her blood all over the floor"
FINE_PROMPT = "a golden retriever sleeps by the fireplace"
DATA = files("kinema_safety.prompts") / "data"


@pytest.fixture(scope="module")
def judge() -> PromptJudge:
    return PromptJudge()


def test_a_verdict_names_category_signal_place_and_digests(judge: PromptJudge) -> None:
    verdict = judge.judge(Texts(FINE_PROMPT, shots=(FINE_PROMPT, FORBIDDEN)))
    assert verdict.refused
    assert verdict.categories == (Category.VIOLENCE,)
    assert {finding.place for finding in verdict.findings} == {Place(Part.SHOT, 2)}
    as_json = verdict.as_json()
    assert as_json["policy"] == Policy().digest
    assert as_json["classifier"] == judge.judge(Texts(FINE_PROMPT)).classifier
    assert as_json["findings"][0]["where"] == "shot 2"


@pytest.mark.parametrize(
    ("texts", "place"),
    [
        (Texts(FORBIDDEN), "prompt"),
        (Texts(FINE_PROMPT, negative_prompt=FORBIDDEN), "negativePrompt"),
        (Texts(FINE_PROMPT, expanded_prompt=FORBIDDEN), "expandedPrompt"),
        (Texts("", shots=(FORBIDDEN, FINE_PROMPT)), "shot 1"),
    ],
)
def test_every_text_is_judged(judge: PromptJudge, texts: Texts, place: str) -> None:
    assert {str(finding.place) for finding in judge.judge(texts).findings} == {place}


def test_no_verdict_holds_a_word_of_the_text(judge: PromptJudge) -> None:
    told = json.dumps(judge.judge(Texts(FORBIDDEN, shots=("Taylor Swift as Batman",))).as_json())
    assert not any(word in told for word in ("masked", "stabs", "blood", "Swift", "Batman"))


@pytest.mark.parametrize("text", ["", " ", "a", "猫", "?", "\u202e", "\u200b", "a\x00b", "🐈"])
def test_short_and_strange_texts_are_judged(judge: PromptJudge, text: str) -> None:
    assert not judge.judge(Texts(text)).refused


def test_a_text_is_as_long_as_it_may_be_and_no_longer(judge: PromptJudge) -> None:
    longest = (FINE_PROMPT + ". ") * 1000
    assert not judge.judge(Texts(longest[:MOST_CHARACTERS])).refused
    assert judge.judge(Texts(longest[: MOST_CHARACTERS - len(FORBIDDEN) - 2] + ". " + FORBIDDEN)).refused
    with pytest.raises(PromptTooLong, match=r"shot 1 has 32001 characters; at most 32000\. Shorten it\."):
        judge.judge(Texts("a", shots=("a" * 32_001,)))


@pytest.mark.parametrize("kind", sorted(evasions.LATIN))
def test_a_disguised_prompt_is_refused(judge: PromptJudge, kind: str) -> None:
    assert judge.judge(Texts(evasions.LATIN[kind](FORBIDDEN))).refused


@pytest.mark.parametrize("kind", sorted(evasions.LATIN))
def test_a_disguised_harmless_prompt_is_let_through(judge: PromptJudge, kind: str) -> None:
    assert not judge.judge(Texts(evasions.LATIN[kind](FINE_PROMPT))).refused


@pytest.mark.parametrize(
    "negative",
    ["", "blurry, low quality, ugly", "nsfw, nude, blood, gore", "nudity, violence. watermark", "血腥，裸体，低质量"],
)
def test_what_a_careful_user_keeps_out_is_let_through(judge: PromptJudge, negative: str) -> None:
    assert not judge.judge(Texts(FINE_PROMPT, negative_prompt=negative)).refused


@pytest.mark.parametrize("negative", ["clothes, blurry", "ugly, censorship", "衣服，模糊", "ropa", "Kleidung"])
def test_what_uncovers_is_refused_in_a_negative_prompt(judge: PromptJudge, negative: str) -> None:
    (finding,) = judge.judge(Texts(FINE_PROMPT, negative_prompt=negative)).findings
    assert (finding.category, finding.signal, str(finding.place)) == (Category.SEXUAL, Signal.RULE, "negativePrompt")


def test_a_policy_switches_off_allows_and_lists() -> None:
    text = Texts("Angela Merkel meets Acme Rocket Squirrel")
    assert set(PromptJudge().judge(text).categories) == {Category.PUBLIC_FIGURES}
    policy = Policy.parse(
        "lists: [{category: ip, terms: ['acme rocket squirrel*']}]\n"
        "namespaces: {newsroom: {allow: [默克尔]}, shop: {disabled: [ip]}, both: {disabled: [ip], allow: [Merkel]}}"
    )
    judge = PromptJudge(policy)
    assert set(judge.judge(text).categories) == {Category.PUBLIC_FIGURES, Category.IP}
    assert {f.signal for f in judge.judge(text, "newsroom").findings} == {Signal.OWN_LIST}
    assert set(judge.judge(text, "shop").categories) == {Category.PUBLIC_FIGURES}
    assert not judge.judge(text, "both").refused
    assert judge.judge(text, "both").policy == policy.digest


def test_a_threshold_moves_the_classifier_alone() -> None:
    judge = PromptJudge(Policy.parse("thresholds: {violence: 1.0}"))
    assert not judge.judge(Texts(FORBIDDEN)).refused
    assert judge.judge(Texts(FORBIDDEN + " like in a snuff film")).refused


class Endpoint:
    """A service that finds hate in every second text."""

    def scores(self, texts: Sequence[str]) -> Sequence[Mapping[Category, float]]:
        return [{Category.HATE: 0.9 * (number % 2)} for number in range(len(texts))]


def test_an_endpoint_is_one_more_signal() -> None:
    (finding,) = PromptJudge(endpoint=Endpoint()).judge(Texts(FINE_PROMPT, shots=(FINE_PROMPT,))).findings
    assert (finding.category, finding.signal, str(finding.place)) == (Category.HATE, Signal.ENDPOINT, "shot 1")


class Broken:
    """A service that does not answer."""

    def scores(self, texts: Sequence[str]) -> Sequence[Mapping[Category, float]]:
        raise TimeoutError(f"no answer for {len(texts)} texts")


def test_an_endpoint_that_fails_is_no_leave() -> None:
    with pytest.raises(TimeoutError):
        PromptJudge(endpoint=Broken()).judge(Texts(FINE_PROMPT))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_prompt_of_the_seed_is_refused(judge: PromptJudge, language: str) -> None:
    lines = (HERE / f"seed-{language}.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 48
    assert [line for line in lines if judge.judge(Texts(line)).refused] == []


def test_held_back_families_are_many_small_and_not_trained_on() -> None:
    held_back, trained = read(HELD_BACK), read(TRAINING)
    sizes: dict[str, int] = {}
    for example in held_back:
        sizes[example.family] = sizes.get(example.family, 0) + 1
    harmless = [example for example in held_back if example.label == FINE]
    assert len(held_back) >= 2000
    assert len(sizes) >= 200
    assert max(sizes.values()) <= MOST
    assert 2 * len(harmless) >= len(held_back)
    assert 3 * sum(example.pair is not None for example in harmless) >= len(harmless)
    assert not {example.text for example in held_back} & {example.text for example in trained}


def test_the_classifier_is_that_of_the_training_set() -> None:
    from moderation.families import digest

    card = json.loads((DATA / classifiers.CARD).read_text())
    assert card["trained_on"] == digest(read(TRAINING)), "train it again: uv run dev/moderation/train.py"
    assert len((DATA / classifiers.WEIGHTS).read_bytes()) < 10_000_000


@pytest.mark.parametrize("damage", ["missing", "cut", "other", "card"])
def test_a_damaged_classifier_is_refused(tmp_path: Path, damage: str) -> None:
    weights, card = (DATA / classifiers.WEIGHTS).read_bytes(), (DATA / classifiers.CARD).read_bytes()
    changed = {"missing": None, "cut": weights[:1000], "other": weights + b"x", "card": weights}[damage]
    if changed is not None:
        (tmp_path / classifiers.WEIGHTS).write_bytes(changed)
    (tmp_path / classifiers.CARD).write_bytes(b"{" if damage == "card" else card)
    with pytest.raises(ClassifierUnreadable, match=r"classifier\.npz"):
        classifiers.read(tmp_path)
