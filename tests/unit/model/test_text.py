import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kinema_model.errors import BrokenArtefact, PromptError
from kinema_model.text import MAX_TOKENS, TextEncoder, bundled_folder

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
    states, mask = encoder.encode(PROMPTS)
    assert torch.equal(mask, given["attention_mask"].bool())
    assert ((states - expected) * mask[..., None]).abs().max() < 1e-5


def test_a_prompt_s_states_do_not_depend_on_its_neighbours(encoder: TextEncoder) -> None:
    alone, mask = encoder.encode(PROMPTS[:1])
    together, _ = TextEncoder().encode(PROMPTS)
    assert mask.all()
    assert torch.allclose(together[0, : alone.shape[1]], alone[0], atol=1e-5)
    assert together[0, alone.shape[1] :].abs().max() == 0


def test_repeated_prompts_come_from_the_cache(encoder: TextEncoder) -> None:
    first, _ = encoder.encode(["a cached prompt"])
    again, _ = encoder.encode(["a  cached   prompt"])
    assert torch.equal(first, again)


def test_an_empty_prompt_has_no_tokens(encoder: TextEncoder) -> None:
    states, mask = encoder.encode(["", "a red square"])
    assert not mask[0].any()
    assert mask[1].all()
    assert states[0].abs().max() == 0
    only, nothing = encoder.encode([""])
    assert only.shape == (1, 1, 384)
    assert not nothing.any()


def test_prompts_that_are_not_prompts_are_refused(encoder: TextEncoder) -> None:
    with pytest.raises(PromptError, match="at most"):
        encoder.encode(["x" * 50_000])
    with pytest.raises(PromptError, match="not NoneType"):
        encoder.encode([None])  # type: ignore[list-item]
    with pytest.raises(PromptError, match="at least one"):
        encoder.encode([])


def test_broken_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(BrokenArtefact, match=r"model\.safetensors.*Reinstall"):
        TextEncoder(tmp_path).encode(["a red square"])


def test_slow_libraries_stay_out() -> None:
    """Recovery after a crash pays for every import of a trainer."""
    code = (
        "import sys; from kinema_model.text import TextEncoder; TextEncoder().encode(['a red square']);"
        "print([m for m in ('transformers', 'sentence_transformers', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
