"""The lists: what they hold, how a term is matched, and which names are found."""

import re

import pytest

from kinema_safety.errors import TermsRefused
from kinema_safety.prompts.lists import LANGUAGES, NAMES, REFUSING, languages, lists
from kinema_safety.prompts.terms import Lexicon, parse_term, read_groups
from kinema_safety.prompts.writing import normalised, tokens
from kinema_safety.verdict import Category


def words(text: str) -> list[str]:
    return tokens(normalised(text))


def found(text: str, *terms: str) -> bool:
    return bool(Lexicon([parse_term(term, "x") for term in terms]).matches(words(text)))


@pytest.mark.parametrize(
    ("term", "text", "there"),
    [
        ("saw", "a saw in the shed", True),
        ("saw", "a sawmill", False),
        ("saw*", "a sawmill", True),
        ("hot iron", "the hot iron hisses", True),
        ("hot iron", "hot, iron", False),
        ("cut* .. open", "cuts the letter open", True),
        ("cut* .. open", "cut one two three four five open", False),
        ("cut* .. open", "cut. The door is open", False),
        ("剪..纸", "剪一张红纸", True),
        ("剪..纸", "剪一二三四五六七纸", False),
        ("Straße", "auf der STRASSE", True),
        ("re-enact*", "they re enacted it", True),
    ],
)
def test_a_term_is_found_where_it_stands(term: str, text: str, there: bool) -> None:
    assert found(text, term) == there


@pytest.mark.parametrize(("text", "message"), [("a\n", "x, line 1: a term stands before"), ("[g]\n*\n", "no letters")])
def test_a_file_of_terms_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(TermsRefused, match=re.escape(message)):
        list(read_groups(text, "x"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("category", REFUSING)
def test_every_language_has_terms_of_every_category(language: str, category: Category) -> None:
    assert any(t.language == language and t.group == category for t in lists().all_terms())


def test_at_least_five_hundred_names_are_spelled_in_both_scripts() -> None:
    both = 0
    for spellings in lists().names.spellings():
        latin = any(re.search("[A-Za-z]", one) for one in spellings)
        both += latin and any(re.search("[\u4e00-\u9fff]", one) for one in spellings)
    assert both >= 500


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("taylor SWIFT on a horse", "Taylor Swift"),
        ("TaylorSwift on a horse", "Taylor Swift"),
        ("泰勒斯威夫特骑马", "Taylor Swift"),
        ("Beyonce sings", "Beyoncé"),
        ("spiderman", "Spider-Man"),
        ("Drake, the rapper, on stage", "Drake rapper"),
        ("शाहरुख खान नाचते हैं", "Shah Rukh Khan"),
        ("محمد صلاح يركض", "Mohamed Salah"),
    ],
)
def test_a_name_is_found_in_its_spellings(text: str, name: str) -> None:
    assert name in {named.name for named in lists().names.find(words(text))}


@pytest.mark.parametrize(
    "text",
    [
        "a drake swims with ducklings",
        "a madonna carved in wood",
        "the thing became a dragon and soared",
        "一条鱼化成龙飞走",
        "车在公路飞驰",
        "草原神秘的清晨",
        "swift rivers and a taylor's shop",
        "a frozen lake and a sonic boom",
    ],
)
def test_a_word_that_also_means_something_else_is_no_name(text: str) -> None:
    assert lists().names.find(words(text)) == set()


def test_names_stand_in_one_category_each() -> None:
    assert {named.category for named in lists().names.named.values()} == set(NAMES)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("the man is in the house", {"en"}),
        ("el perro corre por la playa", {"es"}),
        ("le chien dort dans la maison", {"fr"}),
        ("der Hund ist auf dem Sofa", {"de"}),
        ("zebra", {"en", "es", "fr", "de"}),
    ],
)
def test_the_language_of_a_text_is_told_by_its_commonest_words(text: str, language: set[str]) -> None:
    assert languages(words(text)) == language


def test_a_short_word_of_another_language_does_not_count() -> None:
    """French "bite" and "sein" are words of English and German."""
    assert not [m for m in lists().terms(words("the dog has a bite of the apple")) if m.term.language == "fr"]


def test_a_harmless_phrase_takes_away_what_it_holds() -> None:
    groups = {match.term.group for match in lists().terms(words("a killer whale and blood oranges"))}
    assert "harmless" in groups
    assert not groups & {"killing", "blood"}
