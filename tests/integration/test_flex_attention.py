"""FlexAttention sees what the kernel on a CPU sees, by its formula: only a GPU compiles it. Importing it takes long."""

import pytest
import torch

from kinema_model.network.attention import _block_sparse, _gathered
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
