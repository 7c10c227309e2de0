"""What a network remembers of tokens that are done, so that a long clip costs no more per chunk than a short one.

Keys are kept before their rotation: where a token stands is told anew in every pass, counted from the window's own
beginning, and positions stay small however long the clip has become.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class KeyValues:
    """Keys before rotation, float32, and values of one layer, both (n, H, d)."""

    keys: Tensor
    values: Tensor


@dataclass
class LayerKVCache:
    """One layer's `past`, and in `own` what the latest pass added to it."""

    past: KeyValues | None = None
    own: KeyValues | None = None

    def join(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (past + n, H, d): the past, and behind it those (n, H, d) of this pass, noted in `own`."""
        self.own = KeyValues(keys, values)
        if self.past is None:
            return keys, values
        return torch.cat((self.past.keys, keys)), torch.cat((self.past.values, values))


@dataclass
class KVCache:
    """A memory for every layer of a network."""

    layers: list[LayerKVCache] = field(default_factory=list)

    @classmethod
    def of(cls, depth: int, pasts: Sequence[Sequence[KeyValues]] = ()) -> "KVCache":
        """Of `depth` layers, the past being `pasts` one behind the other, each with a `KeyValues` for every layer."""
        if not pasts:
            return cls([LayerKVCache() for _ in range(depth)])
        joined = [
            KeyValues(torch.cat([one.keys for one in layer]), torch.cat([one.values for one in layer]))
            for layer in zip(*pasts, strict=True)
        ]
        return cls([LayerKVCache(past) for past in joined])

    @property
    def own(self) -> tuple[KeyValues, ...]:
        """What the latest pass added, layer by layer."""
        return tuple(layer.own for layer in self.layers if layer.own is not None)
