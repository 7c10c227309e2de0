import cmath

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_model.network.rope import THETA, apply_rope, axis_channels, rope_table

Place = tuple[float, float, float]
place = st.tuples(st.floats(0, 40), st.floats(0, 40), st.floats(0, 40))


def _rotated_by_hand(vector: list[float], at: Place, widths: tuple[int, int, int]) -> list[float]:
    """Each pair of channels as a complex number, turned by its own angle."""
    out: list[float] = []
    first = 0
    for position, channels in zip(at, widths, strict=True):
        for pair in range(channels // 2):
            z = complex(vector[first + 2 * pair], vector[first + 2 * pair + 1])
            z *= cmath.exp(1j * position * THETA ** (-2 * pair / channels))
            out += [z.real, z.imag]
        first += channels
    return out


@pytest.mark.parametrize("head_dim", [6, 24, 32, 64, 128])
def test_axes_share_all_channels_in_pairs(head_dim: int) -> None:
    widths = axis_channels(head_dim)
    assert sum(widths) == head_dim
    assert all(width > 0 and width % 2 == 0 for width in widths)


@settings(max_examples=examples(25), deadline=None)
@given(at=place, seed=st.integers(0, 99))
def test_equals_complex_rotation_written_out(at: Place, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(1, 2, 24)
    turned = apply_rope(x, rope_table(24, torch.tensor([at])))
    for head in range(2):
        expected = _rotated_by_hand(x[0, head].tolist(), at, axis_channels(24))
        assert turned[0, head].tolist() == pytest.approx(expected, abs=1e-4)


@settings(max_examples=examples(25), deadline=None)
@given(q_at=place, k_at=place, shift=place, seed=st.integers(0, 99))
def test_products_depend_on_distance_alone(q_at: Place, k_at: Place, shift: Place, seed: int) -> None:
    torch.manual_seed(seed)
    q, k = torch.randn(1, 1, 12), torch.randn(1, 1, 12)

    def product(by: torch.Tensor) -> float:
        turned = [apply_rope(x, rope_table(12, torch.tensor([at]) + by)) for x, at in ((q, q_at), (k, k_at))]
        return float((turned[0] * turned[1]).sum())

    assert product(torch.tensor(shift)) == pytest.approx(product(torch.zeros(3)), abs=1e-3)
