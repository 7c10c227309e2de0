import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_model.errors import BrokenArtefact, PromptError
from kinema_model.text.encoder import MAX_TOKENS, TextEncoder
from kinema_model.text.weights import bundled_folder

pytestmark = pytest.mark.slow


PROMPTS = [
    "a red square moves right",
    "Hello, wörld! naïve 漢字 and an emoji 🙂",
    "a much longer prompt, with commas; it goes on and on so that the others must be padded " * 3,
]


def test_states_equal_those_of_transformers(encoder: TextEncoder) -> None:
    transformers = pytest.importorskip("transformers")
    bert = transformers.BertModel.from_pretrained(bundled_folder()).eval()
    tokenizer = transformers.BertTokenizerFast.from_pretrained(bundled_folder())
    given = tokenizer(PROMPTS, return_tensors="pt", padding=True, truncation=True, max_length=MAX_TOKENS)
    with torch.no_grad():
        expected = bert(**given).last_hidden_state
    normed = torch.nn.functional.layer_norm(expected, expected.shape[-1:])
    for states, theirs, mask in zip(encoder.encode(PROMPTS), normed, given["attention_mask"].bool(), strict=True):
        assert torch.allclose(states, theirs[mask], atol=2e-5)


def test_a_prompt_s_states_do_not_depend_on_its_neighbours(encoder: TextEncoder) -> None:
    alone = encoder.encode(PROMPTS[:1])[0]
    together = TextEncoder().encode(PROMPTS)[0]
    assert together.shape == alone.shape
    assert torch.allclose(together, alone, atol=1e-5)


def test_repeated_prompts_come_from_the_cache(encoder: TextEncoder) -> None:
    first, again = (encoder.encode([prompt])[0] for prompt in ("a cached prompt", "a  cached   prompt"))
    assert first is again


def test_an_empty_prompt_has_no_tokens(encoder: TextEncoder) -> None:
    nothing, something = encoder.encode(["", "a red square"])
    assert nothing.shape == (0, 384)
    assert len(something) == 5


def test_prompts_that_are_not_prompts_are_refused(encoder: TextEncoder) -> None:
    with pytest.raises(PromptError, match="at most"):
        encoder.encode(["x" * 50_000])
    with pytest.raises(PromptError, match="not NoneType"):
        encoder.encode([None])  # type: ignore[list-item]
    with pytest.raises(PromptError, match="at least one"):
        encoder.encode([])


# All of Unicode with halves of surrogate pairs, which JSON can carry and text cannot.
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)


@given(prompt=ANY_TEXT)
@example(prompt="\ud800")
@example(prompt="a red \udfff square")
@example(prompt="\u200b\u2060\u200e\0")
@example(prompt="\u202e\u0645\u0631\u0628\u0639 \U0001f7e5\ufe0f")
@example(prompt="z" + "\u0335" * 3000)
@example(prompt="\u4e00" * 10_000)
@settings(max_examples=examples(40), deadline=None)
def test_any_text_is_encoded_or_refused(prompt: str, encoder: TextEncoder) -> None:
    try:
        prompt.encode()
    except UnicodeEncodeError:
        with pytest.raises(PromptError, match="half of a surrogate pair, which is not valid text"):
            encoder.encode([prompt])
        return
    (states,) = encoder.encode([prompt])
    assert states.shape[0] <= MAX_TOKENS
    assert states.shape[1] == 384
    assert bool(torch.isfinite(states).all())


def test_broken_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(BrokenArtefact, match=r"model\.safetensors.*--force-reinstall"):
        TextEncoder(tmp_path).encode(["a red square"])


def test_slow_libraries_stay_out() -> None:
    """Recovery after a crash pays for every import of a trainer."""
    code = (
        "import sys; from kinema_model.text.encoder import TextEncoder; TextEncoder().encode(['a red square']);"
        "print([m for m in ('transformers', 'sentence_transformers', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
