"""FlexAttention sees what the kernel on a CPU sees, by its formula: only a GPU compiles it. Importing it takes long."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_model.network.attention import MASK_BLOCK, AttentionPattern, _block_sparse, _gathered
from kinema_model.network.chunks import Chunks, attention_pattern


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_sees_the_same() -> None:
    torch.manual_seed(0)
    chunks = [Chunks((2, 1, 2, 2), 1), None, Chunks((3, 1), 2)]
    boxes = [[(7, 2, 1), (1, 2, 1)], [(3, 2, 3)], [(4, 3, 13), (2, 3, 13), (1, 3, 13)]]
    tokens = sum(t * h * w for parts in boxes for t, h, w in parts)
    pattern = attention_pattern(chunks, boxes, torch.zeros(tokens, 3))
    assert pattern.taken is not None
    q, k, v = (torch.randn(n, 2, 8) for n in (tokens, *[len(pattern.taken)] * 2))
    assert torch.allclose(_block_sparse(q, k, v, pattern), _gathered(q, k, v, pattern), atol=1e-5)


def visible(pattern: AttentionPattern) -> torch.Tensor:
    """(N, K) by definition: a key is visible to the segments of its span."""
    assert pattern.spans is not None
    segment = torch.arange(len(pattern.queries.lengths)).repeat_interleave(torch.tensor(pattern.queries.lengths))
    first, last = pattern.spans.unbind(1)
    return (first <= segment[:, None]) & (segment[:, None] <= last)


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3), st.integers(1, 90)), min_size=1, max_size=4))
def test_blocks_that_the_mask_leaves_out_hide_nothing_and_full_ones_show_all(
    clips: list[tuple[int, int, int]],
) -> None:
    chunks = [Chunks((1,) * rows, window) for rows, window, _ in clips]
    boxes = [[(rows, 1, width), (1, 1, width)] for rows, _, width in clips]
    tokens = sum(t * h * w for parts in boxes for t, h, w in parts)
    pattern = attention_pattern(chunks, boxes, torch.zeros(tokens, 3))
    seen, mask = visible(pattern), pattern.block_mask
    for query in range(mask.kv_num_blocks.shape[-1]):
        rows = seen[query * MASK_BLOCK : (query + 1) * MASK_BLOCK]
        partial = set(mask.kv_indices[0, 0, query, : mask.kv_num_blocks[0, 0, query]].tolist())
        assert mask.full_kv_num_blocks is not None
        assert mask.full_kv_indices is not None
        full = set(mask.full_kv_indices[0, 0, query, : mask.full_kv_num_blocks[0, 0, query]].tolist())
        assert not partial & full
        for key in range(-(-seen.shape[1] // MASK_BLOCK)):
            block = rows[:, key * MASK_BLOCK : (key + 1) * MASK_BLOCK]
            assert not block.any() or key in partial | full
            assert bool(block.all()) or key not in full
