"""What a stream looks back at: keys and values of its last chunks and of its references, and nothing older.

Its size does not depend on how long the stream has become: a new chunk drives out the oldest, and times are counted
from the beginning of the window.
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
    """Finished tokens as later chunks see them: `layers` for all texts of a pass, places (n, 3) for one of them.

    Times of a chunk are counted from its own beginning, those of a reference from the window's.
    """

    layers: tuple[KeyValues, ...]
    places: Tensor
    extent: float
    """What it takes of the window's time axis; a reference stands before the window and takes nothing."""


@dataclass(frozen=True)
class View:
    """A model that sees what is kept before the tokens of a pack, one sample for each text; it is a `Velocity`."""

    model: VideoDenoiser
    seen: tuple[CachedChunk, ...]
    kv_cache: KVCache

    def __call__(self, pack: Pack) -> Tensor:
        """(N, C pt ph pw). All samples of the pack are the same chunk; their places are moved behind what is seen."""
        begin = sum(kept.extent for kept in self.seen)
        ahead = torch.tensor([begin, 0.0, 0.0], device=pack.places.device)
        pack = replace(pack, places=pack.places + ahead)
        velocity: Tensor = self.model(replace(pack, pattern=self._pattern(pack)), self.kv_cache)
        return velocity

    def _pattern(self, pack: Pack) -> AttentionPattern:
        """Each sample sees its own share of all that is kept, then itself."""
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
    """The last chunks of a stream of `fps` frames per second, the model's own by default, and its references."""

    def __init__(
        self,
        model: VideoDenoiser,
        streaming: StreamingConfig,
        device: torch.device | str = "cpu",
        fps: float | None = None,
    ) -> None:
        self.config: ModelConfig = model.config
        # What a token row takes of the time axis. Chunks tell it themselves, all but those of a single row.
        self._pace = self.config.reference_fps / (self.config.fps if fps is None else fps)
        self.chunks: deque[CachedChunk] = deque(maxlen=streaming.window_chunks)
        self.references: tuple[CachedChunk, ...] = ()
        self._model = model
        self._device = torch.device(device)

    def view(self) -> View:
        """The model as the next chunk asks it."""
        return self._looking((*self.references, *self.chunks))

    @torch.inference_mode()
    def keep(self, part: Part, texts: Sequence[Tensor]) -> None:
        """Take a finished chunk in, at the level of its part; the oldest one leaves.

        It is seen once for each text (L, text_dim).
        """
        if len(part.times) > 1:
            self._pace = float(part.times[1] - part.times[0])
        self.chunks.append(self._kept(self.view(), part, texts, len(part.times) * self._pace))

    @torch.inference_mode()
    def refer(self, parts: Sequence[Part], texts: Sequence[Tensor]) -> None:
        """See these parts from now on, once for each text (L, text_dim), in place of the references so far."""
        self.references = tuple(self._kept(self._looking(()), part, texts, 0.0) for part in parts)

    def _looking(self, seen: tuple[CachedChunk, ...]) -> View:
        depth = self.config.network.num_layers
        return View(self._model, seen, KVCache.of(depth, [kept.layers for kept in seen]))

    def _kept(self, view: View, part: Part, texts: Sequence[Tensor], extent: float) -> CachedChunk:
        pack = pack_samples([Sample((part,), text) for text in texts], self.config.patch).to(self._device)
        view(pack)
        return CachedChunk(view.kv_cache.own, pack.places[: pack.clips.lengths[0]], extent)
