"""Which tokens see which in a clip that is made chunk by chunk: all of their own chunk, and backward.

Full attention within a chunk and none forward (block-causal, as in CausVid, arXiv:2412.07772), so that what is finished
need never be computed again. A window bounds how far back; references stand right before it for ever.
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
    """Token `rows` of each chunk of a clip, of which every one sees itself and `window` chunks before it.

    The sample's other parts are references. Each sees itself alone; every chunk but the first, of which they may be,
    sees them at their times counted from the beginning of its window. The first `context` chunks are not to be learnt:
    they stand for what sampling has already made.
    """

    rows: tuple[int, ...]
    window: int
    context: int = 0


def attention_pattern(
    chunks: Sequence[Chunks | None], boxes: Sequence[Sequence[Box]], places: Tensor
) -> AttentionPattern:
    """The sight of a pack whose samples have these chunks, or None, and boxes of tokens; places (N, 3).

    Raises `ShapeError` for chunks that are not the clip's rows.
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
    """Who sees the chunks and the references of one sample, its segments counted from `first`."""
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
    """The references of one sample once more for each chunk that sees them: rows, and places moved with its window.

    One key cannot be as far from two windows, so each window has its own.
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
