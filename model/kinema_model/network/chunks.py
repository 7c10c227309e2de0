"""The attention pattern of a clip that is generated chunk by chunk: full within a chunk, and to earlier chunks.

No chunk attends to a later one (block-causal, as in CausVid, arXiv:2412.07772), so finished chunks need not be computed
again. A window bounds how many earlier chunks are attended to; reference frames are positioned right before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from kinema_model.errors import ShapeError
from kinema_model.network.attention import AttentionPattern, KeySpan, Segments

Box = tuple[int, int, int]
"""Frames, rows and columns."""


@dataclass(frozen=True)
class Chunks:
    """Token `rows` of each chunk of a clip; a chunk attends to itself and to the `window` chunks before it.

    The other parts of the sample are references, which attend to themselves alone. Every chunk but the first, which
    they may be cut from, attends to them, with their times counted from the start of its window. The first `context`
    chunks add nothing to the loss: they are what sampling has already generated.
    """

    rows: tuple[int, ...]
    window: int
    context: int = 0


def attention_pattern(
    chunks: Sequence[Chunks | None], boxes: Sequence[Sequence[Box]], places: Tensor
) -> AttentionPattern:
    """The pattern of a pack from the chunks (or None), the boxes of tokens and the positions (N, 3) of its samples.

    Raises `ShapeError` for chunks whose rows do not sum up to those of the clip.
    """
    sizes = [[prod(box) for box in parts] for parts in boxes]
    if not any(chunks):
        return AttentionPattern.own(Segments.of([sum(mine) for mine in sizes], places.device))
    lengths: list[int] = []
    seen: list[KeySpan] = []
    copies: list[tuple[KeySpan, Tensor, Tensor]] = []
    start = 0
    for mine, parts, tokens in zip(chunks, boxes, sizes, strict=True):
        first = len(lengths)
        if mine is None:
            lengths.append(sum(tokens))
            seen.append(KeySpan(sum(tokens), first, first))
        else:
            _check(mine, parts[0])
            of_chunks, of_references = _chunked(mine, parts, first)
            seen += of_chunks + of_references
            lengths += [block.count for block in of_chunks + of_references]
            here = places[start : start + sum(tokens)]
            copies += _before_windows(mine, here, tokens, start, first)
        start += sum(tokens)
    pattern = AttentionPattern.across(lengths, [*seen, *(block for block, _, _ in copies)], places.device)
    if not copies:
        return pattern
    own = torch.arange(len(places), device=places.device)
    return AttentionPattern(
        pattern.queries,
        pattern.keys,
        torch.cat([own, *(rows for _, rows, _ in copies)]),
        torch.cat([places, *(moved for _, _, moved in copies)]),
        pattern.rows,
        pattern.spans,
    )


def _check(chunks: Chunks, box: Box) -> None:
    if sum(chunks.rows) != box[0] or min(chunks.rows) < 1 or chunks.window < 0:
        raise ShapeError(f"Chunks of {chunks.rows} rows do not fit a clip of {box[0]}. Give rows that sum up to it.")


def _chunked(chunks: Chunks, parts: Sequence[Box], first: int) -> tuple[list[KeySpan], list[KeySpan]]:
    """The key spans of the chunks and of the references of one sample, its segments numbered from `first`."""
    count = len(chunks.rows)
    area = prod(parts[0][1:])
    of_chunks = [
        KeySpan(rows * area, first + number, first + min(number + chunks.window, count - 1))
        for number, rows in enumerate(chunks.rows)
    ]
    alone = enumerate(parts[1:], start=first + count)
    return of_chunks, [KeySpan(prod(box), number, number) for number, box in alone]


def _before_windows(
    chunks: Chunks, places: Tensor, tokens: Sequence[int], start: int, first: int
) -> list[tuple[KeySpan, Tensor, Tensor]]:
    """Copies of the references of one sample, for each chunk that attends to them: rows (n,) and positions (n, 3).

    A reference is equally far from every window, so each window has its own copy of the keys, at its own positions.
    """
    references = torch.arange(tokens[0], len(places), device=places.device)
    if not len(references):
        return []
    area = tokens[0] // sum(chunks.rows)
    copies = []
    for number in range(1, len(chunks.rows)):
        begin = area * sum(chunks.rows[: max(0, number - chunks.window)])
        moved = places[references].clone()
        moved[:, 0] += places[begin, 0] - places[0, 0]
        copies.append((KeySpan(len(references), first + number, first + number), start + references, moved))
    return copies
