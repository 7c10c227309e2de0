"""A prompt as the states that Wan was trained on: 512 of umT5, zeros behind those of the words.

The network attends to the zeros too, so they are part of its input.
"""

import html
import re
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from kinema_model.errors import BrokenArtefact, PromptError
from kinema_model.open_weights.files import ADVICE, first_line
from kinema_model.text.reading import Reading

MAX_TOKENS: Final = 512
MAX_CHARACTERS: Final = 100_000
_END: Final = "</s>"


def clean(prompt: str) -> str:
    """A prompt as Wan was trained on: with repaired encoding and plain quotes, no HTML entities, single spaces."""
    import ftfy

    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(prompt)))).strip()


class PromptTokenizer:
    """tokenizer.json of a folder, which ends each text with its end token. Raises `BrokenArtefact` when made.

    `vocabulary` is the number of embeddings that the text encoder has.
    """

    def __init__(self, file: Path, vocabulary: int) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer: Any = Tokenizer.from_file(str(file))
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            ends = self._tokenizer.encode("a").tokens[-1:]
        except Exception as error:  # what the library raises has no class of its own
            raise BrokenArtefact(f"{file} cannot be read as a tokenizer: {first_line(error)}. {ADVICE}") from error
        if ends != [_END]:
            raise BrokenArtefact(f"{file} does not end a text with {_END}. {ADVICE}")
        if self._tokenizer.get_vocab_size() > vocabulary:
            raise BrokenArtefact(f"{file} has more tokens than text_encoder's vocab_size {vocabulary}. {ADVICE}")

    def ids(self, prompt: str) -> list[int]:
        """At most 512 ids, the last one the end token. Raises `PromptError` for a prompt that is no text."""
        found = self._encode(prompt).ids
        return [int(token) for token in (found if len(found) <= MAX_TOKENS else [*found[: MAX_TOKENS - 1], found[-1]])]

    def reading(self, prompts: list[str]) -> Reading:
        """How many tokens the longest prompt has, of at most 512, and what is cut from the first that is longer."""
        tokens, cut = 0, ""
        for prompt in prompts:
            encoded = self._encode(prompt)
            tokens = max(tokens, min(len(encoded.ids), MAX_TOKENS))
            if len(encoded.ids) > MAX_TOKENS and not cut:
                cut = clean(prompt)[encoded.offsets[MAX_TOKENS - 2][1] :].strip()
        return Reading(tokens, cut, ())

    def _encode(self, prompt: str) -> Any:
        if not isinstance(prompt, str) or len(prompt) > MAX_CHARACTERS:
            raise PromptError(f"A prompt is no text of at most {MAX_CHARACTERS} characters. Shorten it.")
        return self._tokenizer.encode(clean(prompt).encode("utf-8", "replace").decode())


@torch.no_grad()
def text_states(encoder: nn.Module, ids: list[int], device: torch.device) -> Tensor:
    """States (512, d_model) of a prompt's ids on `device`.

    The encoder runs over the ids alone: a mask would hide padding from them, so the states are the same.
    """
    states: Tensor = encoder(torch.tensor([ids], device=device)).last_hidden_state[0]
    return nn.functional.pad(states, (0, 0, 0, MAX_TOKENS - len(states)))
