"""One spelling: whatever a text is typed in, lists and the classifier meet the same words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_safety.prompts.writing import BREAKS, is_cjk, normalised, tokens

UNICODE = st.text(st.characters(codec="utf-8"), max_size=60)


@pytest.mark.parametrize(
    ("typed", "folded"),
    [
        ("A Knife", "a knife"),
        ("Ｋｎｉｆｅ", "knife"),
        ("ⓚⓝⓘⓕⓔ", "knife"),
        ("𝓴𝓷𝓲𝓯𝓮", "knife"),
        ("k\u200bn\u2060i\ufefff\u00ade", "knife"),
        ("k̶n̶i̶f̶e̶", "knife"),
        ("cuchíllo, años, Straße", "cuchillo, anos, strasse"),
        ("knіfе", "knife"),
        ("ехо", "exo"),
        ("Привет, мир", "привет, мир"),
        ("戰爭與殺人", "战争与杀人"),
        ("战 争", "战争"),
        ("战-争_片", "战争片"),
        ("نصٌّ مُشكَّل", "نص مشكل"),
        ("ज़िंदगी", "जिंदगी"),
        ("two   spaces\tand\r\n\n lines", "two spaces and\nlines"),
        ("\u202eefink\u202c", "efink"),
        ("٣ سنوات", "3 سنوات"),
        ("", ""),
        (" \n ", ""),
        ("\ud800x", "x"),
    ],
)
def test_a_text_has_one_spelling(typed: str, folded: str) -> None:
    assert normalised(typed) == folded


@settings(max_examples=examples(400), deadline=None)
@given(UNICODE)
def test_a_spelling_stays_as_it_is(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once


@settings(max_examples=examples(400), deadline=None)
@given(UNICODE)
def test_nothing_unseen_is_left(text: str) -> None:
    folded = normalised(text)
    assert len(folded) <= 18 * len(text)
    assert not any(mark in folded for mark in "\u200b\u200e\u202e\u2066\ufeff\t\r")


@settings(max_examples=examples(200), deadline=None)
@given(UNICODE)
def test_tokens_are_words_characters_and_breaks(text: str) -> None:
    for token in tokens(normalised(text)):
        assert token in BREAKS or is_cjk(token) or token.strip() == token != ""


def test_chinese_characters_stand_alone_and_words_together() -> None:
    assert tokens(normalised("一把knife，很亮")) == ["一", "把", "knife", ",", "很", "亮"]


def test_the_article_of_arabic_words_is_taken_off() -> None:
    assert tokens(normalised("الرجل والسكين")) == tokens(normalised("رجل سكين"))
