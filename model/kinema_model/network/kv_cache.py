"""The KV cache: keys and values of finished tokens, so that a chunk of a long clip costs no more than of a short one.

Keys are cached before their rotation. Every pass rotates them anew, by positions counted from the start of the window,
so positions stay small in a clip of any length.
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
    """The cache of one layer: `past` is read, `own` holds the keys and values of the latest pass."""

    past: KeyValues | None = None
    own: KeyValues | None = None

    def join(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (past + n, H, d): the cached ones, then those (n, H, d) of this pass, which `own` keeps."""
        self.own = KeyValues(keys, values)
        if self.past is None:
            return keys, values
        return torch.cat((self.past.keys, keys)), torch.cat((self.past.values, values))


@dataclass
class KVCache:
    """The cache of every layer of a network."""

    layers: list[LayerKVCache] = field(default_factory=list)

    @classmethod
    def of(cls, depth: int, pasts: Sequence[Sequence[KeyValues]] = ()) -> "KVCache":
        """A cache of `depth` layers from `pasts`, concatenated in order; each has a `KeyValues` for every layer."""
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
