"""Attention within the segments of a packed sequence, behind one function that hides the kernel.

A segment of queries attends to the segment of keys with the same number and to nothing else. A GPU with flash attention
runs one variable-length kernel over the whole pack; other devices compute one scaled dot product per segment. An
`AttentionPattern` describes segments that attend to more than themselves, such as chunks of a stream. It is computed
by FlexAttention (Dong et al. 2024, arXiv:2412.05496) or over copies of the shared keys.
"""

import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

logger = logging.getLogger(__name__)

MASK_BLOCK: Final = 128
"""Queries and keys of a block of FlexAttention's mask."""
FLASH_HEAD: Final = 256
FLEX_HEAD: Final = 16


@dataclass(frozen=True)
class Segments:
    """The bounds of S consecutive segments: `lengths` in tokens, `offsets` (S + 1,) int32 their running sum from 0."""

    lengths: tuple[int, ...]
    offsets: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device | str = "cpu") -> "Segments":
        """Segments of these lengths, one after another."""
        offsets = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
        return cls(tuple(lengths), offsets)

    @property
    def longest(self) -> int:
        """Tokens of the longest segment."""
        return max(self.lengths)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Segments":
        """The same, with offsets as `change` returns them."""
        return Segments(self.lengths, change(self.offsets))


@dataclass(frozen=True)
class KeySpan:
    """`count` consecutive rows of keys, and the first and last segment of queries that attend to them."""

    count: int
    first: int
    last: int


@dataclass(frozen=True)
class AttentionPattern:
    """The keys that each segment of queries attends to; `keys` has their number for each segment.

    `taken` (K,) selects the rows that are keys from the cached rows followed by those of the pack, and `places` (K, 3)
    holds their positions; without both, the keys are the rows of the pack. `rows` (M,) lists which of the K keys each
    segment attends to, segment after segment, and `spans` (K, 2) the first and last segment that attend to each key;
    without both, every segment attends to the next `keys.lengths[i]` keys.
    """

    queries: Segments
    keys: Segments
    taken: Tensor | None = None
    places: Tensor | None = None
    rows: Tensor | None = None
    spans: Tensor | None = None

    @classmethod
    def own(cls, segments: Segments) -> "AttentionPattern":
        """Every segment attends to itself."""
        return cls(segments, segments)

    @classmethod
    def across(
        cls, lengths: Sequence[int], seen: Sequence[KeySpan], device: torch.device | str = "cpu"
    ) -> "AttentionPattern":
        """Segments of these lengths over keys that they may share; `seen` covers all rows of keys in order."""
        rows: list[list[Tensor]] = [[] for _ in lengths]
        starts = accumulate((block.count for block in seen), initial=0)
        for start, block in zip(starts, seen, strict=False):
            for segment in range(block.first, block.last + 1):
                rows[segment].append(torch.arange(start, start + block.count, device=device))
        spans = torch.tensor([(block.first, block.last) for block in seen], dtype=torch.int32, device=device)
        counts = torch.tensor([block.count for block in seen], device=device)
        return cls(
            Segments.of(lengths, device),
            Segments.of([sum(map(len, each)) for each in rows], device),
            rows=torch.cat([piece for each in rows for piece in each]),
            spans=spans.repeat_interleave(counts, dim=0),
        )

    @cached_property
    def block_mask(self) -> "BlockMask":
        """`spans` as a mask (1, 1, N, K) of FlexAttention, made once for all layers of a pass.

        It is made of the spans of whole blocks, N K / 128^2 comparisons: FlexAttention's own way makes all N K of them.
        """
        from torch.nn.attention.flex_attention import BlockMask

        assert self.spans is not None
        first, last = self.spans.unbind(1)
        segment = torch.arange(len(self.queries.lengths), dtype=first.dtype, device=first.device)
        segment = segment.repeat_interleave(self.queries.offsets.diff())

        def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (first[key] <= segment[query]) & (segment[query] <= last[key])

        (query_least, query_most), (first_least, first_most), (last_least, last_most) = (
            _extremes(each, MASK_BLOCK) for each in (segment, first, last)
        )
        some = (first_least <= query_most[:, None]) & (query_least[:, None] <= last_most)
        every = (first_most <= query_least[:, None]) & (query_most[:, None] <= last_least)
        # Blocks beyond the end are for the mask to cut.
        if len(segment) % MASK_BLOCK:
            every[-1] = False
        if len(first) % MASK_BLOCK:
            every[:, -1] = False
        partial, full = (_listed(blocks) for blocks in (some & ~every, every))
        lengths = (len(segment), len(first))
        return BlockMask.from_kv_blocks(*partial, *full, BLOCK_SIZE=MASK_BLOCK, mask_mod=sees, seq_lengths=lengths)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "AttentionPattern":
        """The same, with tensors as `change` returns them."""
        return replace(self, **mapped_fields(self, change))


def mapped_fields(holder: Any, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Fields of a dataclass that are or hold tensors, changed by `change`, such as a copy to a device."""
    held = {field.name: getattr(holder, field.name) for field in fields(holder)}
    return {
        name: change(value) if isinstance(value, Tensor) else value.mapped(change)
        for name, value in held.items()
        if isinstance(value, Tensor | Segments | AttentionPattern)
    }


def _extremes(values: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """(B,) least and (B,) most of each block of values (N,); the last block may be shorter."""
    missing = -len(values) % block
    blocks = torch.cat((values, values[-1:].expand(missing))).view(-1, block)
    return blocks.amin(1), blocks.amax(1)


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """(Q, K) True for blocks that count -> how many of each row (1, 1, Q), and which, the counting ones first."""
    order = blocks.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    return blocks.sum(1, dtype=torch.int32)[None, None], order.to(torch.int32)[None, None]


Kernel = Callable[[Tensor, Tensor, Tensor, Segments, Segments], Tensor]
SharedKernel = Callable[[Tensor, Tensor, Tensor, AttentionPattern], Tensor]


def attention(q: Tensor, k: Tensor, v: Tensor, queries: Segments, keys: Segments) -> Tensor:
    """softmax(q k^T / sqrt(d)) v per segment: q (N, H, d), k and v (M, H, d) -> (N, H, d)."""
    return choose_kernel(q.device, q.dtype, q.shape[-1])(q, k, v, queries, keys)


def attend(q: Tensor, k: Tensor, v: Tensor, pattern: AttentionPattern) -> Tensor:
    """As `attention`, over the keys of the pattern: q (N, H, d), k and v (K, H, d) -> (N, H, d)."""
    if pattern.rows is None:
        return attention(q, k, v, pattern.queries, pattern.keys)
    return choose_shared_kernel(q.device, q.dtype, q.shape[-1])(q, k, v, pattern)


@lru_cache(maxsize=8)
def choose_kernel(device: torch.device, dtype: torch.dtype, head_width: int) -> Kernel:
    """The fastest kernel that this device has for this dtype and width of a head; the choice is logged once."""
    kernel: Kernel = _variable_length if _has_flash(device, dtype, head_width) else _segment_by_segment
    logger.info("attention on %s in %s, heads %d wide: %s", device, dtype, head_width, kernel.__name__.strip("_"))
    return kernel


@lru_cache(maxsize=8)
def choose_shared_kernel(device: torch.device, dtype: torch.dtype, head_width: int) -> SharedKernel:
    """The fastest kernel for segments that share keys; the choice is logged once."""
    kernel: SharedKernel = _block_sparse if _has_flex(device, dtype, head_width) else _gathered
    name = kernel.__name__.strip("_")
    logger.info("attention to shared keys on %s in %s, heads %d wide: %s", device, dtype, head_width, name)
    return kernel


def _has_flash(device: torch.device, dtype: torch.dtype, head_width: int) -> bool:
    """Flash attention, which the variable-length kernel uses, takes heads of up to 256 in multiples of 8."""
    return _is_ampere_in_half(device, dtype) and head_width <= FLASH_HEAD and head_width % 8 == 0


def _has_flex(device: torch.device, dtype: torch.dtype, head_width: int) -> bool:
    """FlexAttention takes heads of 16 and more."""
    return _is_ampere_in_half(device, dtype) and head_width >= FLEX_HEAD


def _is_ampere_in_half(device: torch.device, dtype: torch.dtype) -> bool:
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    major, _ = torch.cuda.get_device_capability(device)
    return major >= 8


def _segment_by_segment(q: Tensor, k: Tensor, v: Tensor, queries: Segments, keys: Segments) -> Tensor:
    """Consecutive segments of equal length share one call, so that equal clips cost no more than a batch."""
    runs = [(n, m, len(list(same))) for (n, m), same in groupby(zip(queries.lengths, keys.lengths, strict=True))]
    rows = [n * count for n, _, count in runs]
    columns = [m * count for _, m, count in runs]
    mixed = [
        _batched(part_q, part_k, part_v, count)
        for part_q, part_k, part_v, (_, _, count) in zip(
            torch.split(q, rows), torch.split(k, columns), torch.split(v, columns), runs, strict=True
        )
    ]
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


def _batched(q: Tensor, k: Tensor, v: Tensor, count: int) -> Tensor:
    """`count` equal segments of q (n, H, d) and of k and v (m, H, d)."""
    q, k, v = (part.view(count, -1, *part.shape[1:]).transpose(1, 2) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(0, 1)


def _variable_length(q: Tensor, k: Tensor, v: Tensor, queries: Segments, keys: Segments) -> Tensor:
    mixed = _varlen()(q, k, v, queries.offsets, keys.offsets, queries.longest, keys.longest)
    assert isinstance(mixed, Tensor)
    return mixed


@lru_cache(maxsize=1)
def _varlen() -> Callable[..., Tensor | tuple[Tensor, ...]]:
    """`varlen_attn`, checked for the arguments that torch 2.11 and later share."""
    from torch.nn.attention.varlen import varlen_attn

    expected = ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]
    found = list(inspect.signature(varlen_attn).parameters)[: len(expected)]
    if found != expected:
        raise RuntimeError(f"torch {torch.__version__} has another varlen_attn: install torch 2.11 to 2.15.")
    return varlen_attn


def _gathered(q: Tensor, k: Tensor, v: Tensor, pattern: AttentionPattern) -> Tensor:
    """Keys copied for each segment that attends to them: no masked score is computed, at the cost of memory."""
    assert pattern.rows is not None
    k, v = k.index_select(0, pattern.rows), v.index_select(0, pattern.rows)
    return attention(q, k, v, pattern.queries, pattern.keys)


def _block_sparse(q: Tensor, k: Tensor, v: Tensor, pattern: AttentionPattern) -> Tensor:
    """FlexAttention, which skips blocks that no query attends to and copies nothing."""
    # (1, H, N, d), as it takes them.
    q, k, v = (each.transpose(0, 1)[None] for each in (q, k, v))
    mixed = _flex(q.device.type)(q, k, v, block_mask=pattern.block_mask)
    assert isinstance(mixed, Tensor)
    return mixed[0].transpose(0, 1)


@lru_cache(maxsize=2)
def _flex(device_type: str) -> Callable[..., Tensor | tuple[Tensor, ...]]:
    """FlexAttention is a kernel only when compiled; uncompiled it is the formula, by which tests check the mask."""
    from torch.nn.attention.flex_attention import flex_attention

    if device_type != "cuda":
        return flex_attention
    compiled: Callable[..., Tensor] = torch.compile(flex_attention, dynamic=True)
    return compiled
