"""The attention context of a stream: keys and values of its last chunks and of its references.

Its size does not grow with the stream: a new chunk replaces the oldest, and times are counted from the start of the
window.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kinema_model.config import ModelConfig, StreamingConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.network.attention import AttentionPattern, Segments
from kinema_model.network.kv_cache import KeyValues, KVCache
from kinema_model.network.pack import Pack, Part, Sample, pack_samples


@dataclass(frozen=True)
class CachedChunk:
    """Keys and values of a finished chunk: `layers` for all texts of a pass, positions `places` (n, 3) for one text.

    Times of a chunk are counted from its own start, those of a reference from the start of the window.
    """

    layers: tuple[KeyValues, ...]
    places: Tensor
    extent: float
    """Its length on the time axis of the window; 0 for a reference, which lies before the window."""


@dataclass(frozen=True)
class View:
    """A model whose packs, one sample for each text, also attend to `seen`; a `Velocity` for `sampler.sample`."""

    model: VideoDenoiser
    seen: tuple[CachedChunk, ...]
    kv_cache: KVCache

    def __call__(self, pack: Pack) -> Tensor:
        """(N, C pt ph pw). All samples of the pack are the same chunk; their positions are moved to follow `seen`."""
        begin = sum(kept.extent for kept in self.seen)
        ahead = torch.tensor([begin, 0.0, 0.0], device=pack.places.device)
        pack = replace(pack, places=pack.places + ahead)
        velocity: Tensor = self.model(replace(pack, pattern=self._pattern(pack)), self.kv_cache)
        return velocity

    def _pattern(self, pack: Pack) -> AttentionPattern:
        """Each sample attends to its own share of the cached keys, then to itself."""
        copies, (own, *_) = len(pack.clips.lengths), pack.clips.lengths
        begins = [sum(kept.extent for kept in self.seen[:number]) for number in range(len(self.seen))]
        ahead = torch.tensor([[begin, 0.0, 0.0] for begin in begins], device=pack.places.device)
        places = [kept.places + move for kept, move in zip(self.seen, ahead, strict=True)]
        places.append(pack.places[:own])
        counts = [len(each) for each in places]
        rows = torch.arange(copies * sum(counts), device=pack.places.device)
        blocks = torch.split(rows, [copies * n for n in counts])
        taken = [block.view(copies, -1)[copy] for copy in range(copies) for block in blocks]
        keys = Segments.of([sum(counts)] * copies, pack.places.device)
        return AttentionPattern(pack.clips, keys, torch.cat(taken), torch.cat(places).repeat(copies, 1))


class Window:
    """The last chunks of a stream of `fps` frames per second (None: the model's own rate), and its references."""

    def __init__(
        self,
        model: VideoDenoiser,
        streaming: StreamingConfig,
        device: torch.device | str = "cpu",
        fps: float | None = None,
    ) -> None:
        self.config: ModelConfig = model.config
        # Length of a token row on the time axis, for chunks of a single row; longer ones have it in their times.
        self._pace = self.config.grid.pace(self.config.fps if fps is None else fps, self.config.reference_fps)
        self.chunks: deque[CachedChunk] = deque(maxlen=streaming.window_chunks)
        self.references: tuple[CachedChunk, ...] = ()
        self._model = model
        self._device = torch.device(device)

    def view(self) -> View:
        """The model for the next chunk."""
        return self._looking((*self.references, *self.chunks))

    @torch.inference_mode()
    def keep(self, part: Part, texts: Sequence[Tensor]) -> None:
        """Add a finished chunk, at the levels of its part, once for each text (L, text_dim); the oldest is dropped."""
        if len(part.times) > 1:
            self._pace = float(part.times[1] - part.times[0])
        self.chunks.append(self._kept(self.view(), part, texts, len(part.times) * self._pace))

    @torch.inference_mode()
    def refer(self, parts: Sequence[Part], texts: Sequence[Tensor]) -> None:
        """Replace the references by these parts, once for each text (L, text_dim)."""
        self.references = tuple(self._kept(self._looking(()), part, texts, 0.0) for part in parts)

    def _looking(self, seen: tuple[CachedChunk, ...]) -> View:
        depth = self.config.network.num_layers
        return View(self._model, seen, KVCache.of(depth, [kept.layers for kept in seen]))

    def _kept(self, view: View, part: Part, texts: Sequence[Tensor], extent: float) -> CachedChunk:
        pack = pack_samples([Sample((part,), text) for text in texts], self.config.patch).to(self._device)
        view(pack)
        return CachedChunk(view.kv_cache.own, pack.places[: pack.clips.lengths[0]], extent)
