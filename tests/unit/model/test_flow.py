import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from examples import examples
from kinema_model.diffusion.flow import LEVEL_BINS, flow_loss, shift_levels
from kinema_model.network.pack import Pack, Sample, pack_samples
from unit.model.clips import clip

unit = st.floats(0, 1)


def _pair(levels: tuple[list[float], list[float]]) -> tuple[Pack, Tensor]:
    torch.manual_seed(1)
    samples = [Sample((clip((4, 8, 8), torch.tensor(each)),), torch.zeros(1, 4)) for each in levels]
    pack = pack_samples(samples, (1, 4, 4))
    return pack, torch.randn_like(pack.tokens)


@settings(max_examples=examples(50), deadline=None)
@given(a=unit, b=unit)
def test_the_line_is_straight_and_its_slope_is_noise_less_clean(a: float, b: float) -> None:
    seen: list[Tensor] = []

    def model(pack: Pack) -> Tensor:
        seen.append(pack.tokens)
        return pack.tokens

    pack, noise = _pair(([0.5] * 4, [0.5] * 4))
    for level in (a, b, 0.0, 1.0):
        flow_loss(model, pack.at(pack.tokens, torch.tensor([level])), noise)
    at_a, at_b, clean, noisy = seen
    assert torch.allclose(at_b - at_a, (b - a) * (noise - pack.tokens), atol=1e-5)
    assert torch.equal(clean, pack.tokens)
    assert torch.equal(noisy, noise)


@settings(max_examples=examples(50), deadline=None)
@given(level=unit, shift=st.floats(0.1, 20))
def test_shift_keeps_ends_and_is_undone_by_its_inverse(level: float, shift: float) -> None:
    t = torch.tensor(level, dtype=torch.float64)
    shifted = shift_levels(t, shift)
    assert 0 <= shifted <= 1
    assert shift_levels(shifted, 1 / shift).item() == pytest.approx(level, abs=1e-9)
    assert shifted >= t - 1e-12 if shift >= 1 else shifted <= t + 1e-12


def test_loss_of_the_true_velocity_is_zero() -> None:
    pack, noise = _pair(([0.1, 0.2, 0.3, 0.4], [0.9] * 4))
    assert flow_loss(lambda _: noise - pack.tokens, pack, noise).mean == 0


def test_given_frames_reach_the_model_clean_and_add_no_loss() -> None:
    pack, noise = _pair(([0.0, 0.5, 0.5, 0.5], [0.7, 0.7, 0.0, 0.0]))
    seen: list[Tensor] = []

    def model(noisy: Pack) -> Tensor:
        seen.append(noisy.tokens)
        wrong_where_given = torch.where(noisy.token_levels == 0, 1e3, 0.0)[:, None]
        return noise - pack.tokens + 1 + wrong_where_given

    result = flow_loss(model, pack, noise)
    given = pack.token_levels == 0
    assert torch.equal(seen[0][given], pack.tokens[given])
    assert not torch.equal(seen[0][~given], pack.tokens[~given])
    assert result.count == 5 * 4
    assert result.mean.item() == pytest.approx(1.0, abs=1e-4)


def test_bins_say_which_levels_are_hard() -> None:
    pack, noise = _pair(([0.1, 0.3, 0.3, 0.9], [0.6, 0.6, 0.6, 1.0]))
    wrong_by = torch.tensor([1.0, 2.0, 3.0, 4.0])
    bins = (pack.token_levels * LEVEL_BINS).long().clamp(max=LEVEL_BINS - 1)
    result = flow_loss(lambda _: noise - pack.tokens + wrong_by[bins][:, None], pack, noise)
    assert (result.bin_count / 4).tolist() == [1, 2, 3, 2]
    assert (result.bin_total / result.bin_count).tolist() == pytest.approx([1, 4, 9, 16], abs=1e-3)
    assert result.bin_total.sum().item() == pytest.approx(result.total.item())
