import cmath

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema_model.rope import apply_rope, axis_channels, rope_table

CPU = torch.device("cpu")


def _rotated_by_hand(
    vector: list[float], place: tuple[int, int, int], widths: tuple[int, int, int], theta: float
) -> list[float]:
    """Each pair of channels as a complex number, turned by its own angle."""
    out: list[float] = []
    first = 0
    for position, channels in zip(place, widths, strict=True):
        for pair in range(channels // 2):
            z = complex(vector[first + 2 * pair], vector[first + 2 * pair + 1])
            z *= cmath.exp(1j * position * theta ** (-2 * pair / channels))
            out += [z.real, z.imag]
        first += channels
    return out


@pytest.mark.parametrize("head_dim", [6, 24, 32, 64, 128])
def test_axes_share_all_channels_in_pairs(head_dim: int) -> None:
    widths = axis_channels(head_dim)
    assert sum(widths) == head_dim
    assert all(width > 0 and width % 2 == 0 for width in widths)


def test_equals_complex_rotation_written_out() -> None:
    grid, head_dim, theta = (2, 3, 4), 24, 10_000.0
    torch.manual_seed(0)
    x = torch.randn(1, 2, 24, head_dim)
    turned = apply_rope(x, rope_table(head_dim, grid, theta, CPU))
    places = [(t, y, c) for t in range(2) for y in range(3) for c in range(4)]
    for token, place in enumerate(places):
        for head in range(2):
            expected = _rotated_by_hand(x[0, head, token].tolist(), place, axis_channels(head_dim), theta)
            assert turned[0, head, token].tolist() == pytest.approx(expected, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(offset=st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), seed=st.integers(0, 99))
def test_products_depend_on_distance_alone(offset: tuple[int, int, int], seed: int) -> None:
    grid, head_dim = (5, 5, 5), 12
    torch.manual_seed(seed)
    q, k = torch.randn(head_dim), torch.randn(head_dim)
    table = rope_table(head_dim, grid, 100.0, CPU)
    queries = apply_rope(q.expand(125, head_dim), table).view(*grid, head_dim)
    keys = apply_rope(k.expand(125, head_dim), table).view(*grid, head_dim)
    t, y, x = offset
    moved = queries[t + 1, y + 2, x] @ keys[t, y, x + 1]
    assert moved.item() == pytest.approx((queries[1, 2, 0] @ keys[0, 0, 1]).item(), abs=1e-4)
