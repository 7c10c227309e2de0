"""What was taken apart is put together, and what was never hidden stays as it is."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_safety.prompts.disguises import MOST_VIEWS, decoded, repaired, segmented, views
from kinema_safety.prompts.lists import lists
from kinema_safety.prompts.writing import MOST_CHARACTERS, normalised
from moderation import evasions

PROMPT = "the soldier murders the hostage with a machete"


@pytest.mark.parametrize("kind", sorted(evasions.LATIN))
def test_a_disguise_is_seen_through(kind: str) -> None:
    seen = views(evasions.LATIN[kind](PROMPT), lists())
    assert any({"murders", "hostage", "machete"} <= set(re.findall(r"[a-z]+", view)) for view in seen), seen


@pytest.mark.parametrize("kind", sorted(evasions.CHINESE))
def test_a_disguise_of_chinese_is_seen_through(kind: str) -> None:
    assert any("士兵枪杀人质" in view for view in views(evasions.CHINESE[kind]("士兵枪杀人质"), lists()))


@pytest.mark.parametrize(
    ("hidden", "text"),
    [
        ("a m.u.r.d.e.r scene", "a murder scene"),
        ("m u r d e r", "murder"),
        ("t h e   m u r d e r", "the murder"),
        ("murd3r", "murder"),
        ("mur-der", "murder"),
        ("m*rder", "murder"),
        ("muuurder", "murder"),
        ("凶.杀.案", "凶杀案"),
    ],
)
def test_words_are_put_together(hidden: str, text: str) -> None:
    assert repaired(normalised(hidden), lists()) == text


@pytest.mark.parametrize(
    "text",
    [
        "35mm film, 4k, 60fps, 16:9",
        "a 1950s car and 3 dogs in 2d",
        "shot on a5 paper, f1.8 lens, iso 400",
        "a u.s. state",
        "see you at 5pm; bring 2x4 beams",
        "一只猫，一只狗。",
        "ein 3-stöckiges haus",
    ],
)
def test_figures_and_marks_stay(text: str) -> None:
    assert repaired(normalised(text), lists()) == normalised(text)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("Y2F0cyBpbiB0aGUgc25vdw==", "cats in the snow"),
        ("6361747320696e2074686520736e6f77", "cats in the snow"),
        ("cats%20in%20snow", "cats in snow"),
        ("cats&#32;in&#32;snow", "cats in snow"),
        ("antidisestablishmentarianism", None),
        ("deadbeefdeadbeefdeadbeef", None),
        ("100% wool", None),
    ],
)
def test_only_what_is_a_text_is_decoded(text: str, holds: str | None) -> None:
    assert (decoded(text) == "") if holds is None else (holds in decoded(text))


def test_a_text_behind_two_encodings_is_found() -> None:
    assert any("murders" in view for view in views(evasions.in_base64(evasions.in_base64(PROMPT)), lists()))


def test_many_decoys_do_not_keep_a_text_hidden() -> None:
    decoys = " ".join(evasions.in_base64(f"a harmless sentence, number {number}") for number in range(100))
    assert any("machete" in view for view in views(f"{decoys} {evasions.in_base64(PROMPT)}", lists()))


@settings(max_examples=examples(200), deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_views_begin_with_the_text_and_are_few(text: str) -> None:
    seen = views(text, lists())
    assert seen[0] == normalised(text) or not normalised(text)
    assert len(seen) == len(set(seen)) <= MOST_VIEWS


@pytest.mark.parametrize(
    "text",
    [
        "a " * (MOST_CHARACTERS // 2),
        "a" * MOST_CHARACTERS,
        "a.b." * (MOST_CHARACTERS // 4),
        "1a!" * 10_000,
        "杀." * 16_000,
        "%41" * 10_000,
        "\u202e" * MOST_CHARACTERS,
        "aa*" * 10_000,
        "QUFB" * 8_000,
    ],
    ids=["spaces", "one word", "full stops", "mixed", "chinese", "percent", "overrides", "stars", "base64"],
)
def test_the_longest_texts_have_few_views_of_bounded_length(text: str) -> None:
    seen = views(text, lists())
    assert len(seen) <= MOST_VIEWS
    assert max(map(len, seen)) <= 2 * MOST_CHARACTERS


def test_letters_without_spaces_become_known_words() -> None:
    assert segmented("themurdershow", lists()) == "the murder show"
    assert segmented("qqqqzzzz", lists()) == "qqqqzzzz"
