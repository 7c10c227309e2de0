import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_model.network.attention import Segments, attention, choose_kernel

length = st.integers(1, 9)


@settings(max_examples=examples(40), deadline=None)
@given(lengths=st.lists(st.tuples(length, length), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_each_segment_is_the_textbook_formula(lengths: list[tuple[int, int]], seed: int) -> None:
    torch.manual_seed(seed)
    queries, keys = (Segments.of([pair[i] for pair in lengths]) for i in (0, 1))
    q = torch.randn(sum(queries.lengths), 2, 6)
    k, v = (torch.randn(sum(keys.lengths), 2, 6) for _ in range(2))
    mixed = attention(q, k, v, queries, keys)
    pieces = zip(*(x.split(s.lengths) for x, s in ((mixed, queries), (q, queries), (k, keys), (v, keys))), strict=True)
    for out, mine, theirs, values in pieces:
        weights = torch.softmax(torch.einsum("nhd,mhd->hnm", mine, theirs) / 6**0.5, -1)
        assert torch.allclose(out, torch.einsum("hnm,mhd->nhd", weights, values), atol=1e-5)


def test_the_choice_of_kernel_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    choose_kernel.cache_clear()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            choose_kernel(torch.device("cpu"), torch.float32, 12)
    assert [record.getMessage() for record in caplog.records] == [
        "attention on cpu in torch.float32, heads 12 wide: segment_by_segment"
    ]
