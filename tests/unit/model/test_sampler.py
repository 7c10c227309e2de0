from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kinema_model.diffusion.sampler import Guidance, euler_levels, initial_noise, sample
from kinema_model.errors import SamplingStopped, ShapeError
from kinema_model.network.pack import Pack, Sample, pack_samples, patchify
from unit.model.clips import clip

PATCH = (1, 4, 4)
SIZES = [(2, 4, 8), (1, 8, 4)]
SHAPES = [(3, *size) for size in SIZES]
SAMPLES = [Sample((clip(size, 1.0),), torch.ones(3, 8)) for size in SIZES]


def _patches(clips: list[Tensor]) -> Tensor:
    return torch.cat([patchify(each, PATCH) for each in clips])


@pytest.mark.parametrize("steps", [1, 3, 8])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_straight_flow_is_solved_exactly(steps: int, shift: float) -> None:
    """Where the velocity at x is (x - clean) / t, every path is a straight line, and Euler follows it."""
    torch.manual_seed(0)
    clean = [torch.randn(shape) for shape in SHAPES]

    def field(pack: Pack) -> Tensor:
        return (pack.tokens - _patches(clean)) / pack.token_levels[:, None]

    made = sample(field, SAMPLES, [1, 2], PATCH, euler_levels(steps, shift))
    for got, wanted in zip(made, clean, strict=True):
        assert torch.allclose(got, wanted, atol=1e-5)


def test_euler_of_a_linear_field_is_the_product_of_its_steps() -> None:
    """dx/dt = x, stepped from 1 to 0, multiplies the noise by (1 - h) in each step of length h."""
    made = sample(lambda pack: pack.tokens, SAMPLES, [1, 2], PATCH, euler_levels(5, 1.0))
    for got, seed, shape in zip(made, [1, 2], SHAPES, strict=True):
        assert torch.allclose(got, 0.8**5 * initial_noise(seed, shape), atol=1e-6)


def test_what_is_given_stays_and_is_seen_clean_at_every_step() -> None:
    levels = torch.tensor([0.0, 1.0])
    part = clip((2, 4, 8), levels)
    beside = clip((1, 4, 8), 0.0)
    seen: list[Pack] = []

    def field(pack: Pack) -> Tensor:
        seen.append(pack)
        return torch.ones_like(pack.tokens)

    made = sample(field, [Sample((part, beside), torch.ones(1, 8))], [3], PATCH, euler_levels(4, 1.0))
    assert torch.equal(made[0][:, 0], part.latents[:, 0])
    assert torch.allclose(made[0][:, 1], initial_noise(3, part.latents.shape)[:, 1] - 1, atol=1e-5)
    for pack, level in zip(seen, (1, 0.75, 0.5, 0.25), strict=True):
        assert pack.token_levels.tolist() == [0, 0, level, level, 0, 0]
        assert torch.equal(pack.tokens[4:], patchify(beside.latents, PATCH))


def _seen_text(pack: Pack) -> Tensor:
    """A velocity that is the mean text state of each clip; 0 without text."""
    means = [text.mean() for text in pack.text.split(pack.texts.lengths)]
    return torch.cat([m.expand(n, pack.tokens.shape[1]) for m, n in zip(means, pack.clips.lengths, strict=True)])


def test_guidance_leads_away_from_what_stands_against_the_prompt() -> None:
    start = _patches([initial_noise(seed, shape) for seed, shape in zip([1, 2], SHAPES, strict=True)])
    for against, mean in ((torch.zeros(0, 8), 0.0), (torch.full((5, 8), 0.5), 0.5)):
        guided = sample(
            _seen_text, SAMPLES, [1, 2], PATCH, euler_levels(4, 1.0), guidance=Guidance(3.0, [against, against])
        )
        assert torch.allclose(_patches(guided), start - (mean + 3 * (1 - mean)), atol=1e-5)


def test_rescaling_draws_the_deviation_back() -> None:
    def field(pack: Pack) -> Tensor:
        return torch.linspace(-1, 1, pack.tokens.numel()).view_as(pack.tokens) * (1 + _seen_text(pack))

    def deviation(rescale: float) -> float:
        blank = torch.zeros(0, 8)
        made = sample(field, SAMPLES[:1], [1], PATCH, [1.0, 0.0], guidance=Guidance(4.0, [blank], rescale))
        return float((initial_noise(1, SHAPES[0]) - made[0]).std())

    plain, half, full = deviation(0.0), deviation(0.5), deviation(1.0)
    assert plain > half > full
    assert half == pytest.approx((plain + full) / 2, rel=1e-4)


def test_noise_belongs_to_the_seed_not_the_batch() -> None:
    field = lambda pack: pack.tokens  # noqa: E731
    both = sample(field, SAMPLES, [4, 9], PATCH, [1.0, 0.5])
    alone = sample(field, SAMPLES[1:], [9], PATCH, [1.0, 0.5])
    assert torch.equal(both[1], alone[0])
    assert not torch.equal(initial_noise(4, SHAPES[0]), initial_noise(9, SHAPES[0]))
    assert abs(initial_noise(3, (3, 32, 32, 32)).std() - 1) < 0.02


def test_progress_and_stop() -> None:
    told: list[tuple[int, int]] = []
    sample(lambda pack: pack.tokens, SAMPLES, [1, 2], PATCH, euler_levels(3, 1.0), on_step=lambda *a: told.append(a))
    assert told == [(1, 3), (2, 3), (3, 3)]
    told.clear()
    levels = euler_levels(5, 1.0)
    with pytest.raises(SamplingStopped, match="after 2 of 5"):
        sample(
            lambda pack: pack.tokens,
            SAMPLES,
            [1, 2],
            PATCH,
            levels,
            on_step=lambda *a: told.append(a),
            should_stop=lambda: len(told) == 2,
        )


def test_levels_go_from_noise_to_clean() -> None:
    levels = euler_levels(10, 2.0)
    assert (levels[0], levels[-1], len(levels)) == (1.0, 0.0, 11)
    assert levels == sorted(levels, reverse=True)


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ShapeError, match="at least 1"):
        euler_levels(0, 1.0)
    with pytest.raises(ShapeError, match="one seed per prompt"):
        sample(lambda pack: pack.tokens, SAMPLES, [1], PATCH, [1.0, 0.0])
    part = replace(SAMPLES[0].parts[0], levels=torch.ones(1, 1, 1))
    with pytest.raises(ShapeError, match="one level per patch"):
        pack_samples([Sample((part,), torch.ones(1, 8))], PATCH)
