import pytest
import torch
from torch import Tensor

from kinema_model.errors import SamplingStopped, ShapeError
from kinema_model.sampler import euler_levels, initial_noise, sample

SHAPE = (3, 2, 4, 4)
TEXT = torch.ones(2, 3, 8)
MASK = torch.ones(2, 3, dtype=torch.bool)


@pytest.mark.parametrize("steps", [1, 3, 8])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_straight_flow_is_solved_exactly(steps: int, shift: float) -> None:
    """Where the velocity at x is (x - clean) / t, every path is a straight line, and Euler follows it."""
    torch.manual_seed(0)
    clean = torch.randn(2, *SHAPE)

    def field(x: Tensor, levels: Tensor, *_: Tensor) -> Tensor:
        return (x - clean) / levels[:, None, :, None, None]

    out = sample(field, TEXT, MASK, SHAPE, steps, 1.0, [1, 2], shift=shift)
    assert torch.allclose(out, clean, atol=1e-5)


def test_euler_of_a_linear_field_is_the_product_of_its_steps() -> None:
    """dx/dt = x, stepped from 1 to 0, multiplies the noise by (1 - h) in each step of length h."""
    out = sample(lambda x, *_: x, TEXT, MASK, SHAPE, 5, 1.0, [1, 2])
    assert torch.allclose(out, 0.8**5 * initial_noise([1, 2], SHAPE), atol=1e-6)


def test_guidance_leads_away_from_the_negative() -> None:
    def field(x: Tensor, levels: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        seen = (text * mask[..., None]).sum((1, 2)) / mask.sum(1).clamp(min=1) / text.shape[2]
        return seen[:, None, None, None, None].expand_as(x)

    start = initial_noise([1, 2], SHAPE)
    plain = sample(field, TEXT, MASK, SHAPE, 4, 3.0, [1, 2])
    assert torch.allclose(plain, start - (0 + 3 * (1 - 0)), atol=1e-5)
    negative = torch.full((2, 5, 8), 0.5)
    against = sample(
        field,
        TEXT,
        MASK,
        SHAPE,
        4,
        3.0,
        [1, 2],
        negative_text=negative,
        negative_mask=torch.ones(2, 5, dtype=torch.bool),
    )
    assert torch.allclose(against, start - (0.5 + 3 * (1 - 0.5)), atol=1e-5)


def test_noise_belongs_to_the_seed_not_the_batch() -> None:
    assert torch.equal(initial_noise([4, 9], SHAPE)[1], initial_noise([9], SHAPE)[0])
    assert not torch.equal(initial_noise([4], SHAPE), initial_noise([9], SHAPE))
    assert abs(initial_noise([3], (3, 32, 32, 32)).std() - 1) < 0.02


def test_progress_and_stop() -> None:
    told: list[tuple[int, int]] = []
    sample(lambda x, *_: x, TEXT, MASK, SHAPE, 3, 1.0, [1, 2], on_step=lambda *a: told.append(a))
    assert told == [(1, 3), (2, 3), (3, 3)]
    told.clear()
    with pytest.raises(SamplingStopped, match="after 2 of 5"):
        sample(
            lambda x, *_: x,
            TEXT,
            MASK,
            SHAPE,
            5,
            1.0,
            [1, 2],
            on_step=lambda *a: told.append(a),
            should_stop=lambda: len(told) == 2,
        )


def test_levels_go_from_noise_to_clean() -> None:
    levels = euler_levels(10, 2.0)
    assert (levels[0], levels[-1], len(levels)) == (1.0, 0.0, 11)
    assert levels == sorted(levels, reverse=True)


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ShapeError, match="at least 1"):
        sample(lambda x, *_: x, TEXT, MASK, SHAPE, 0, 1.0, [1, 2])
    with pytest.raises(ShapeError, match="one seed per prompt"):
        sample(lambda x, *_: x, TEXT, MASK, SHAPE, 2, 1.0, [1])
