"""The baseline's chain and sampler against closed forms that are worked out here on their own."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.latte.diffusion import (
    STEPS,
    Ddpm,
    ddim,
    ddim_steps,
    discretised_log_likelihood,
    gaussian_divergence,
    guided,
)
from examples import examples

DDPM = Ddpm()
SHAPE = (3, 2, 4, 4)
some_steps = st.integers(0, STEPS - 1)


def bar_of(step: int) -> float:
    """alpha_bar by plain multiplication."""
    product = 1.0
    for i in range(step + 1):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * i / (STEPS - 1))
    return product


def draw(seed: int, batch: int = 2) -> tuple[Tensor, Tensor]:
    """8-bit clips in [-1, 1] and noise."""
    source = torch.Generator().manual_seed(seed)
    clean = torch.randint(0, 256, (batch, *SHAPE), generator=source) / 127.5 - 1
    return clean, torch.randn(batch, *SHAPE, generator=source)


@pytest.mark.parametrize("step", [0, 1, 250, 999])
def test_signal_falls_as_the_linear_schedule_says(step: int) -> None:
    assert DDPM.alpha_bar[step].item() == pytest.approx(bar_of(step), rel=1e-5)


def test_last_step_is_nearly_noise() -> None:
    # The value that the linear schedule is known for.
    assert DDPM.alpha_bar[-1].item() == pytest.approx(4.04e-5, rel=1e-2)


@given(step=st.integers(1, STEPS - 1), clean=st.floats(-1, 1), noisy=st.floats(-3, 3))
@settings(deadline=None, max_examples=examples(50))
def test_posterior_is_the_product_of_its_two_gaussians(step: int, clean: float, noisy: float) -> None:
    # q(x_{t-1} | x_t, x_0) ~ N(x_t; sqrt(a) x, b) N(x; sqrt(bar) x_0, 1 - bar): precisions add up.
    bar, before = bar_of(step), bar_of(step - 1)
    alpha = bar / before
    precision = alpha / (1 - alpha) + 1 / (1 - before)
    mean = (math.sqrt(alpha) * noisy / (1 - alpha) + math.sqrt(before) * clean / (1 - before)) / precision
    rows = [torch.full((1, 1, 1, 1, 1), value) for value in (clean, noisy)]
    assert DDPM.posterior_mean(*rows, torch.tensor([step])).item() == pytest.approx(mean, abs=2e-4)
    assert DDPM.posterior_log_variance[step].item() == pytest.approx(-math.log(precision), abs=1e-3)


@given(step=some_steps, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=examples(30))
def test_noise_leads_back_to_the_clean_clip(step: int, seed: int) -> None:
    clean, noise = draw(seed)
    steps = torch.full((2,), step)
    again = DDPM.clean_of(DDPM.noised(clean, noise, steps), noise, steps)
    assert torch.allclose(again, clean, atol=1e-4 / float(DDPM.alpha_bar[step]) ** 0.5)


@given(step=some_steps, seed=st.integers(0, 99), wrong=st.floats(0, 2), fraction=st.floats(-3, 3))
@settings(deadline=None, max_examples=examples(50))
def test_bound_is_never_negative(step: int, seed: int, wrong: float, fraction: float) -> None:
    clean, noise = draw(seed)
    predicted = noise + wrong * torch.randn(noise.shape, generator=torch.Generator().manual_seed(seed + 1))
    terms = DDPM.bound(predicted, torch.full_like(noise, fraction), clean, noise, torch.full((2,), step))
    assert (terms >= -1e-6).all()


@pytest.mark.parametrize("step", [1, 10, 500, 999])
def test_bound_is_nothing_where_network_is_right_in_all(step: int) -> None:
    clean, noise = draw(3)
    terms = DDPM.bound(noise, torch.full_like(noise, -1), clean, noise, torch.full((2,), step))
    assert terms.abs().max() < 1e-3


def test_variance_learns_from_the_bound_and_noise_does_not() -> None:
    clean, noise = draw(5)
    emitted = torch.zeros(2, 6, *SHAPE[1:], requires_grad=True)
    loss = DDPM.loss(emitted, clean, noise, torch.tensor([3, 700]))
    of_bound = torch.autograd.grad(loss.bound.sum(), emitted, retain_graph=True)[0]
    of_simple = torch.autograd.grad(loss.simple.sum(), emitted)[0]
    assert of_bound[:, :3].abs().max() == 0
    assert of_bound[:, 3:].abs().max() > 0
    assert of_simple[:, 3:].abs().max() == 0
    assert of_simple[:, :3].abs().max() > 0


def test_loss_is_the_squared_error_and_the_bound() -> None:
    clean, noise = draw(6)
    loss = DDPM.loss(torch.zeros(2, 6, *SHAPE[1:]), clean, noise, torch.tensor([3, 700]))
    assert loss.mean.item() == pytest.approx(noise.square().mean().item() + loss.bound.mean().item(), rel=1e-5)


@pytest.mark.parametrize(("fraction", "table"), [(-1.0, "posterior_log_variance"), (1.0, "log_beta")])
def test_variance_lies_between_the_posteriors_and_beta(fraction: float, table: str) -> None:
    steps = torch.arange(STEPS)
    found = DDPM.log_variance(torch.full((STEPS, 1, 1, 1, 1), fraction), steps).flatten()
    assert torch.allclose(found, getattr(DDPM, table), atol=1e-5)


@pytest.mark.parametrize("log_variance", [-9.0, -4.0, 0.0])
@pytest.mark.parametrize("mean", [-1.2, -0.3, 0.0, 0.9])
def test_probabilities_of_all_8_bit_values_make_one(mean: float, log_variance: float) -> None:
    values = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    logs = discretised_log_likelihood(values, torch.full_like(values, mean), torch.full_like(values, log_variance))
    assert logs.exp().sum().item() == pytest.approx(1, abs=1e-6)


@given(*(st.floats(-2, 2) for _ in range(4)))
@settings(deadline=None, max_examples=examples(50))
def test_divergence_is_what_torch_says(mean: float, log: float, other: float, other_log: float) -> None:
    rows = [torch.tensor(value, dtype=torch.float64) for value in (mean, log, other, other_log)]
    normals = [torch.distributions.Normal(rows[i], (0.5 * rows[i + 1]).exp()) for i in (0, 2)]
    expected = torch.distributions.kl_divergence(normals[0], normals[1])
    assert gaussian_divergence(*rows).item() == pytest.approx(expected.item(), abs=1e-9)


@given(count=st.integers(2, STEPS))
def test_sampling_steps_fall_evenly_from_last_to_first(count: int) -> None:
    steps = ddim_steps(count)
    gaps = [a - b for a, b in pairwise(steps)]
    assert (steps[0], steps[-1], len(steps)) == (STEPS - 1, 0, count)
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("count", [0, 1, STEPS + 1])
def test_impossible_numbers_of_sampling_steps_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="Use 2 to 1000"):
        ddim_steps(count)


@pytest.mark.parametrize("count", [2, 7, 50])
def test_ddim_finds_the_clip_that_an_oracle_knows(count: int) -> None:
    clean, noise = draw(8)

    def oracle(x: Tensor, steps: Tensor) -> Tensor:
        bar = DDPM.alpha_bar[steps].view(-1, 1, 1, 1, 1)
        return (x - bar.sqrt() * clean) / (1 - bar).sqrt()

    assert torch.allclose(ddim(DDPM, oracle, noise, count), clean, atol=2e-3)


def test_ddim_of_gaussian_data_follows_its_known_path() -> None:
    # For data N(0, s^2) the best noise is linear in x, and every step of DDIM is a plain factor.
    spread = 0.1

    def best(x: Tensor, steps: Tensor) -> Tensor:
        bar = DDPM.alpha_bar[steps].view(-1, 1, 1, 1, 1)
        return (1 - bar).sqrt() * x / (bar * spread**2 + 1 - bar)

    _, noise = draw(9)
    assert ddim(DDPM, best, noise, STEPS).std().item() == pytest.approx(spread * noise.std().item(), rel=0.05)


def test_guidance_goes_from_no_text_through_text() -> None:
    def network(x: Tensor, steps: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        condition = mask.any(1).to(x.dtype).view(-1, 1, 1, 1, 1) * text.mean((1, 2)).view(-1, 1, 1, 1, 1)
        return torch.cat((x + condition, x), dim=1)

    x, steps = torch.zeros(2, *SHAPE), torch.tensor([5, 5])
    text, mask = torch.tensor([1.0, 2.0]).view(2, 1, 1).expand(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    found = guided(network, text, mask, 3.0)(x, steps)
    assert found.shape == x.shape
    assert found.flatten(1).mean(1).tolist() == pytest.approx([3.0, 6.0])
