from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kinema_model.network.modulation import adaptive_norm, gated, multiplied_by_row, sinusoids, summed_by_row

INDEX = torch.tensor([2, 2, 0, 1, 1, 1, 0])


def _norm_by_token(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale[INDEX]) + shift[INDEX]


@pytest.mark.parametrize("rows", [3, 1])
def test_looking_rows_up_equals_a_row_for_every_token(rows: int) -> None:
    torch.manual_seed(0)
    index = INDEX if rows == 3 else torch.zeros_like(INDEX)
    x, update = (torch.randn(7, 12, dtype=torch.float64, requires_grad=True) for _ in range(2))
    shift, scale, gate = (torch.randn(rows, 12, dtype=torch.float64, requires_grad=True) for _ in range(3))
    inputs = (x, update, shift, scale, gate)
    weight = torch.randn(7, 12)

    def gradients(result: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad((result * weight).sum(), inputs))

    normed = adaptive_norm(x.float(), shift.float(), scale.float(), index, 1e-6)
    ours = gated(normed, update.float(), gate.float(), index)
    plain = F.layer_norm(x, (12,), eps=1e-6) * (1 + scale[index]) + shift[index] + gate[index] * update
    assert torch.allclose(ours.double(), plain, atol=1e-5)
    for mine, theirs in zip(gradients(ours), gradients(plain), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


def test_nothing_of_every_token_s_modulation_is_kept_for_the_way_back() -> None:
    tokens, width = 64, 12
    x = torch.randn(tokens, width, requires_grad=True)
    tables = [torch.randn(2, width, requires_grad=True) for _ in range(3)]
    index = torch.arange(tokens) % 2
    kept: list[tuple[int, ...]] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    pack: Callable[[Tensor], Tensor] = keep
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        gated(adaptive_norm(x, tables[0], tables[1], index, 1e-6), x, tables[2], index)
    assert kept.count((tokens, width)) == 2, "only what is normed and what is gated"
    assert not [shape for shape in kept if len(shape) > 2]


def test_half_precision_is_computed_in_full() -> None:
    x = torch.randn(7, 12).bfloat16()
    shift, scale = torch.randn(3, 12), torch.randn(3, 12)
    full = _norm_by_token(x.float(), shift, scale)
    assert torch.equal(adaptive_norm(x, shift, scale, INDEX, 1e-5), full.bfloat16())


def test_rows_summed_by_a_product_are_the_rows_summed_one_by_one() -> None:
    values = torch.randn(50, 6)
    index = torch.randint(0, 7, (50,))
    product = multiplied_by_row(values, index, 7)
    assert torch.allclose(product, summed_by_row(values, index, 7), atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(multiplied_by_row(values, index, 7), product)


def test_sinusoids_tell_levels_apart() -> None:
    features = sinusoids(torch.linspace(0, 1000, 101), 32)
    assert features.shape == (101, 32)
    assert torch.cdist(features, features).add(10 * torch.eye(101)).min() > 0.1
    assert features[0].tolist() == [1.0] * 16 + [0.0] * 16
