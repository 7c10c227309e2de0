"""Whatever words are asked for, a request is taken or refused in one sentence that does not repeat them."""

from __future__ import annotations

import unicodedata
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_api.clip import ClipRequest
from kinema_api.errors import InvalidManifest
from kinema_api.generation import VideoGenerationSpec

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)


UNSEEN = {"Zs", "Zl", "Zp", "Cc", "Cf", "Cs"}


def refusal(prompt: str, negative: str | None) -> str | None:
    """Why a request with these words is not rendered."""
    try:
        ClipRequest.parse({"prompt": prompt, "negativePrompt": negative})
    except InvalidManifest as error:
        return str(error)
    return None


@given(prompt=ANY_TEXT, negative=st.none() | ANY_TEXT)
@example(prompt="\u00a0\u3000\u200b", negative=None)
@example(prompt="\u202ea red square", negative="\ud800")
@settings(max_examples=examples(200), deadline=None)
def test_a_request_of_any_words(prompt: str, negative: str | None) -> None:
    whole = not any(0xD800 <= ord(character) < 0xE000 for character in prompt + (negative or ""))
    seen = any(unicodedata.category(character) not in UNSEEN for character in prompt)
    said = refusal(prompt, negative)
    assert (said is None) == (whole and seen)
    assert "\n" not in (said or "")


@given(prompt=ANY_TEXT, negative=st.none() | ANY_TEXT)
@settings(max_examples=examples(200), deadline=None)
def test_what_a_manifest_may_say_a_job_renders(prompt: str, negative: str | None) -> None:
    fields: dict[str, Any] = {"modelRef": {"name": "model"}, "prompt": prompt}
    said: str | None = None
    try:
        VideoGenerationSpec.parse(fields if negative is None else {**fields, "negativePrompt": negative})
    except InvalidManifest as error:
        said = str(error)
    if said is None:
        assert refusal(prompt, negative) is None
    else:
        assert said.startswith(("prompt: ", "negativePrompt: "))
        assert "\n" not in said
