import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kinema_model.flow import flow_loss, noised, sample_levels, shift_levels

TEXT = torch.zeros(2, 1, 4)
MASK = torch.ones(2, 1, dtype=torch.bool)
unit = st.floats(0, 1)


def _pair(seed: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(2, 3, 4, 2, 2), torch.randn(2, 3, 4, 2, 2)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), a=unit, b=unit)
def test_the_line_is_straight_and_its_slope_is_noise_less_clean(seed: int, a: float, b: float) -> None:
    clean, noise = _pair(seed)
    at_a, at_b = (noised(clean, noise, torch.full((2, 4), t)) for t in (a, b))
    assert torch.allclose(at_b - at_a, (b - a) * (noise - clean), atol=1e-5)


def test_ends_of_the_line() -> None:
    clean, noise = _pair(0)
    assert torch.equal(noised(clean, noise, torch.zeros(2, 4)), clean)
    assert torch.equal(noised(clean, noise, torch.ones(2, 4)), noise)


@settings(max_examples=50, deadline=None)
@given(level=unit, shift=st.floats(0.1, 20))
def test_shift_keeps_ends_and_is_undone_by_its_inverse(level: float, shift: float) -> None:
    t = torch.tensor(level, dtype=torch.float64)
    shifted = shift_levels(t, shift)
    assert 0 <= shifted <= 1
    assert shift_levels(shifted, 1 / shift).item() == pytest.approx(level, abs=1e-9)
    assert shifted >= t - 1e-12 if shift >= 1 else shifted <= t + 1e-12


def test_levels_are_logit_normal() -> None:
    levels = sample_levels(0, range(4000), 0, shift=1.0)
    logits = torch.logit(levels)
    assert abs(logits.mean()) < 0.05
    assert abs(logits.std() - 1) < 0.05
    assert sample_levels(0, range(4000), 0, shift=3.0).mean() > levels.mean() + 0.1


def test_levels_belong_to_sample_and_step() -> None:
    together = sample_levels(5, [10, 11, 12], 7, 1.0)
    assert torch.equal(sample_levels(5, [12, 10], 7, 1.0), together[[2, 0]])
    assert not torch.equal(sample_levels(5, [10, 11, 12], 8, 1.0), together)


def test_loss_of_the_true_velocity_is_zero() -> None:
    clean, noise = _pair(1)
    result = flow_loss(lambda *_: noise - clean, clean, TEXT, MASK, noise, torch.rand(2, 4))
    assert result.mean == 0


def test_given_frames_reach_the_model_clean_and_add_no_loss() -> None:
    clean, noise = _pair(2)
    levels = torch.tensor([[0.0, 0.5, 0.5, 0.5], [0.7, 0.7, 0.0, 0.0]])
    seen: list[Tensor] = []

    def model(x: Tensor, *_: Tensor) -> Tensor:
        seen.append(x)
        wrong_where_given = torch.where(levels[:, None, :, None, None] == 0, 1e3, 0.0)
        return noise - clean + 1 + wrong_where_given

    result = flow_loss(model, clean, TEXT, MASK, noise, levels)
    assert torch.equal(seen[0][0, :, 0], clean[0, :, 0])
    assert torch.equal(seen[0][1, :, 2:], clean[1, :, 2:])
    assert result.count == 5 * 3 * 2 * 2
    assert result.mean.item() == pytest.approx(1.0, abs=1e-4)
    assert result.per_clip.tolist() == pytest.approx([1.0, 1.0], abs=1e-4)
    assert result.levels.tolist() == pytest.approx([0.5, 0.7])
