"""A policy is read whole, or refused with one sentence that names what is wrong."""

import json

import pytest

from kinema_safety.errors import PolicyRefused, TermsRefused
from kinema_safety.policy import LONGEST_POLICY, Policy
from kinema_safety.prompts import PromptJudge
from kinema_safety.verdict import Category

WHOLE = """
thresholds: {violence: 0.7}
lists:
  - {category: ip, terms: [Acme Rocket Squirrel]}
disabled: [hate]
allow: [Angela Merkel]
namespaces:
  clinic: {disabled: [sexual], thresholds: {violence: 0.9}}
"""


def test_a_policy_is_read() -> None:
    policy = Policy.parse(WHOLE)
    assert policy.thresholds == {Category.VIOLENCE: 0.7}
    assert policy.lists[0].terms == ("Acme Rocket Squirrel",)
    assert policy.rules().disabled == {Category.HATE}
    clinic = policy.rules("clinic")
    assert clinic.disabled == {Category.HATE, Category.SEXUAL}
    assert clinic.thresholds[Category.VIOLENCE] == 0.9
    assert clinic.allow == ("Angela Merkel",)
    assert policy.rules("elsewhere") == policy.rules()


def test_json_is_yaml() -> None:
    assert Policy.parse(json.dumps({"disabled": ["ip"]})).disabled == {Category.IP}


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "null"])
def test_an_empty_policy_changes_nothing(text: str) -> None:
    assert Policy.parse(text).rules() == Policy().rules()


def test_the_digest_is_that_of_the_text() -> None:
    one, other = Policy.parse("disabled: [ip]"), Policy.parse("disabled: [ip] ")
    assert one.digest.startswith("sha256:")
    assert one.digest != other.digest
    assert one.digest == Policy.parse("disabled: [ip]").digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("disabled: [minors]", "disabled.0: minors can neither be switched off"),
        ("thresholds: {minors: 0.9}", "thresholds.minors: minors can neither"),
        ("namespaces: {a: {disabled: [minors]}}", "namespaces.a.disabled.0: minors can neither"),
        ("disabled: [gardening]", "disabled.0: input should be"),
        ("thresholds: {violence: 0}", "thresholds.violence: input should be greater than 0"),
        ("thresholds: {violence: 1.5}", "thresholds.violence: input should be less than or equal to 1"),
        ("thresholds: {violence: often}", "thresholds.violence: input should be a valid number"),
        ("threshold: {violence: 0.5}", "there is no field threshold"),
        ("namespaces: {a: {lists: []}}", "there is no field namespaces.a.lists"),
        ("lists: [{category: ip, terms: []}]", "lists.0.terms: tuple should have at least 1 item"),
        ("lists: [{terms: [a]}]", "lists.0.category: field required"),
        ("digest: sha256:0", "there is no field digest"),
        ("- disabled", "it is not a map"),
        ("disabled: [violence", "at line 1"),
        ("disabled: *x", "an alias (*name) is not allowed"),
        ("a: !!python/object:os.system {}", "no YAML or JSON"),
        ("\x00", "no YAML or JSON"),
        ("[" * 5000, "no YAML or JSON"),
        ("#" * (LONGEST_POLICY + 1), "more than 1048576 bytes"),
    ],
)
def test_any_other_is_refused_with_its_field(text: str, words: str) -> None:
    with pytest.raises(PolicyRefused) as refused:
        Policy.parse(text)
    message = str(refused.value)
    assert message.startswith("policy: ")
    assert words in message
    assert "\n" not in message
    assert message.endswith(".")


def test_a_term_without_letters_is_refused_when_a_judge_is_made() -> None:
    policy = Policy.parse("lists: [{category: ip, terms: ['***']}]")
    with pytest.raises(TermsRefused, match="ip: a term has no letters"):
        PromptJudge(policy)
