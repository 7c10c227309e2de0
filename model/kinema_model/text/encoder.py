"""Prompts to token states, offline: the weights of MiniLM in a small BERT of our own.

The package that ships the weights loads them through libraries whose import takes seconds, which would be part of
every recovery after a crash; see docs/decisions/0003-text-encoder.md.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from kinema_model.errors import BrokenArtefact, PromptError
from kinema_model.text.weights import REPAIR, TOKENIZER_FILE, WEIGHTS_FILE, bundled_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEXT_DIM: Final = 384
_LAYERS: Final = 6
_HEADS: Final = 12
_VOCABULARY: Final = 30_522
_POSITIONS: Final = 512
_NORM_EPS: Final = 1e-12
MAX_TOKENS: Final = 128  # what the encoder was trained with; longer prompts are cut there
MAX_PROMPT_CHARACTERS: Final = 10_000
_CACHED_PROMPTS: Final = 8_192


class _Bert:
    """Six post-norm encoder layers of BERT (Devlin et al. 2018, arXiv:1810.04805) over weights as stored.

    Plain functions over tensors, not modules: building and initialising modules only to overwrite them takes
    longer than reading the file.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids (B, L) and mask (B, L) -> states (B, L, 384)."""
        words = F.embedding(ids, self._weights["embeddings.word_embeddings.weight"])
        places = self._weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        segment = self._weights["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(words + places + segment, "embeddings.LayerNorm")
        for layer in range(_LAYERS):
            x = self._layer(x, mask, f"encoder.layer.{layer}")
        return x

    def _layer(self, x: Tensor, mask: Tensor, name: str) -> Tensor:
        heads = (*x.shape[:2], _HEADS, TEXT_DIM // _HEADS)
        q, k, v = (
            self._linear(x, f"{name}.attention.self.{part}").view(heads).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :]).transpose(1, 2)
        attended = self._linear(mixed.flatten(2), f"{name}.attention.output.dense")
        x = self._norm(x + attended, f"{name}.attention.output.LayerNorm")
        hidden = F.gelu(self._linear(x, f"{name}.intermediate.dense"))
        return self._norm(x + self._linear(hidden, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        gain, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return F.layer_norm(x, gain.shape, gain, bias, _NORM_EPS)


def _expected_shapes() -> dict[str, tuple[int, ...]]:
    d = TEXT_DIM
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (_VOCABULARY, d),
        "embeddings.position_embeddings.weight": (_POSITIONS, d),
        "embeddings.token_type_embeddings.weight": (2, d),
    }
    linear = {f"attention.self.{part}": (d, d) for part in ("query", "key", "value")}
    linear |= {"attention.output.dense": (d, d), "intermediate.dense": (4 * d, d), "output.dense": (d, 4 * d)}
    norms = ["embeddings.LayerNorm"]
    for layer in range(_LAYERS):
        norms += [f"encoder.layer.{layer}.{part}.LayerNorm" for part in ("attention.output", "output")]
        for part, shape in linear.items():
            shapes[f"encoder.layer.{layer}.{part}.weight"] = shape
            shapes[f"encoder.layer.{layer}.{part}.bias"] = shape[:1]
    for name in norms:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (d,)
    return shapes


class TextEncoder:
    """Frozen MiniLM-L6 (Wang et al. 2020, arXiv:2002.10957) for English, 384 wide; states are cached per prompt.

    Weights are read at the first use.
    """

    def __init__(self, folder: Path | None = None, device: torch.device | str = "cpu") -> None:
        self._folder = folder
        self._device = torch.device(device)
        self._parts: tuple[_Bert, Tokenizer] | None = None
        self._cache: OrderedDict[str, Tensor] = OrderedDict()

    def encode(self, prompts: Sequence[str]) -> list[Tensor]:
        """Token states (L, 384) float32 of each prompt, every state normed to mean 0 and variance 1.

        An empty prompt has no states, (0, 384). Raises `PromptError` for no prompts, or one that is too long or not
        text, and at first use `TextEncoderMissing` or `BrokenArtefact`.
        """
        if not prompts:
            raise PromptError("There is no prompt to encode. Give at least one.")
        cleaned = [_cleaned(prompt) for prompt in prompts]
        missing = list(dict.fromkeys(p for p in cleaned if p and p not in self._cache))
        if missing:
            self._remember(missing)
        rows = [self._cache[p] if p else torch.zeros(0, TEXT_DIM, device=self._device) for p in cleaned]
        for prompt in missing:
            self._cache.move_to_end(prompt)
        while len(self._cache) > _CACHED_PROMPTS:
            self._cache.popitem(last=False)
        return rows

    def extent(self, prompt: str) -> tuple[int, str]:
        """The tokens of a prompt that are encoded, at most MAX_TOKENS, and the text cut off. Raises as `encode`."""
        cleaned = _cleaned(prompt)
        if not cleaned:
            return 0, ""
        heard = self._load()[1].encode(cleaned)
        # The last token marks the end of the text; the one before it is the last of the words.
        cut = cleaned[heard.offsets[-2][1] :] if heard.overflowing else ""
        return len(heard.ids), cut.strip()

    def _remember(self, prompts: list[str]) -> None:
        bert, tokenizer = self._load()
        encodings = tokenizer.encode_batch(prompts)
        length = max(len(e.ids) for e in encodings)
        ids = torch.zeros(len(prompts), length, dtype=torch.long)
        mask = torch.zeros(len(prompts), length, dtype=torch.bool)
        for i, encoding in enumerate(encodings):
            ids[i, : len(encoding.ids)] = torch.tensor(encoding.ids)
            mask[i, : len(encoding.ids)] = True
        # Not inference_mode: the states are cached, and may be the input of a training step.
        with torch.inference_mode(mode=False), torch.no_grad():
            states = F.layer_norm(bert(ids.to(self._device), mask.to(self._device)), (TEXT_DIM,))
        for i, prompt in enumerate(prompts):
            # Cloned outside inference mode: a training graph may not save inference tensors.
            self._cache[prompt] = states[i, : len(encodings[i].ids)].clone()

    def _load(self) -> tuple[_Bert, "Tokenizer"]:
        if self._parts is None:
            folder = self._folder or bundled_folder()
            self._parts = (_read_weights(folder / WEIGHTS_FILE, self._device), _read_tokenizer(folder))
        return self._parts


def _cleaned(prompt: Any) -> str:
    if not isinstance(prompt, str):
        raise PromptError(f"A prompt is text, not {type(prompt).__name__}. Give a string.")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise PromptError(f"A prompt of {len(prompt)} characters is too long. Use at most {MAX_PROMPT_CHARACTERS}.")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"Character {error.start} of a prompt is half of a surrogate pair, which is not valid text. Remove it."
        ) from None
    return " ".join(prompt.split())


def _read_weights(path: Path, device: torch.device) -> _Bert:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BrokenArtefact(f"{path} cannot be read: {error}. Repair it with: {REPAIR}") from error
    weights: dict[str, Tensor] = {}
    for name, shape in _expected_shapes().items():
        if name not in stored or tuple(stored[name].shape) != shape:
            raise BrokenArtefact(f"{path} is not MiniLM-L6: {name} is wrong. Repair it with: {REPAIR}")
        weights[name] = stored[name].to(device)
    return _Bert(weights)


def _read_tokenizer(folder: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=MAX_TOKENS)
    return tokenizer
