"""The rule of minors, by its parts: no text that sexualises minors stands anywhere, so each half is tested alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_safety.policy import Policy
from kinema_safety.prompts import PromptJudge, Texts, minors
from kinema_safety.prompts.lists import lists
from kinema_safety.prompts.writing import normalised, tokens
from kinema_safety.verdict import Category, Part, Place, Signal


def of_age(text: str) -> bool:
    folded = normalised(text)
    return minors.names_age(folded, tokens(folded))


def of_sex(text: str) -> bool:
    words = tokens(normalised(text))
    return minors.names_sex(words, lists().terms(words))


@given(st.booleans(), st.booleans())
def test_the_rule_takes_both(age: bool, sex: bool) -> None:
    assert minors.combines(age, sex) == (age and sex)


@pytest.mark.parametrize(
    "text",
    [
        "children fly kites",
        "a schoolgirl reads",
        "孩子们放风筝",
        "两个小学生",
        "un niño corre",
        "des enfants jouent",
        "Kinder spielen",
        "बच्चे खेलते हैं",
        "أطفال يلعبون",
        "a 12 year old",
        "a twelve-year-old",
        "aged 9",
        "十二岁",
        "8岁",
        "una niña de 10 años",
        "17 ans",
        "ein 14 Jahre alter Junge",
        "a 12-yr-old",
    ],
)
def test_age_is_told_by_words_and_by_years(text: str) -> None:
    assert of_age(text)


@pytest.mark.parametrize(
    "text",
    [
        "a woman of 30 years",
        "30-year-old man",
        "三十岁的女人",
        "二十二岁",
        "a 112 year old oak",
        "a kind man",
        "an adult",
    ],
)
def test_grown_people_are_not_minors(text: str) -> None:
    assert not of_age(text)


@pytest.mark.parametrize("text", ["an erotic film", "nude statue", "性感", "desnudos", "nackt", "नग्न", "sexuel"])
def test_sex_is_told_by_words(text: str) -> None:
    assert of_sex(text)


@pytest.mark.parametrize(
    "text", ["breast cancer screening", "a killer whale", "去上床睡觉", "裸眼三维", "a comic strip"]
)
def test_harmless_senses_are_not_of_sex(text: str) -> None:
    assert not of_sex(text)


class TwoStandIns:
    """The rule with made-up words in place of terms."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(minors, "names_age", lambda text, words: "gleeb" in words)
        monkeypatch.setattr(minors, "names_sex", lambda words, matches: "frobnicate" in words)


@pytest.mark.parametrize(
    "policy", ["", "disabled: [sexual]", "namespaces: {a: {disabled: [sexual, hate], allow: [gleeb]}}"]
)
def test_no_policy_switches_the_rule_off(monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    TwoStandIns(monkeypatch)
    verdict = PromptJudge(Policy.parse(policy)).judge(Texts("a gleeb would frobnicate"), "a")
    assert verdict.refused
    assert verdict.categories[0] == Category.MINORS
    assert verdict.findings[0].signal == Signal.RULE


def test_halves_in_two_texts_of_a_request_are_as_if_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    TwoStandIns(monkeypatch)
    verdict = PromptJudge().judge(Texts("a gleeb", shots=("a house", "frobnicate")))
    assert [(f.category, f.place) for f in verdict.findings] == [(Category.MINORS, Place(Part.SHOT, 2))]


@pytest.mark.parametrize("text", ["a gleeb", "frobnicate"])
def test_one_half_alone_is_no_reason(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    TwoStandIns(monkeypatch)
    assert Category.MINORS not in PromptJudge().judge(Texts(text)).categories
