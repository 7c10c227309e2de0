"""Losses by level: of each clip alone, the same every time, and beside the best that mean and variance can reach."""

import pytest
import torch
from torch import Tensor

from kinema_model.codec.codec import make_codec
from kinema_model.config import ModelConfig
from kinema_model.network.pack import Pack
from kinema_model.source import Captions, Clip
from kinema_model.text.encoder import TextEncoder
from kinema_model.validation import LevelLosses

CONFIG = ModelConfig.from_preset("tiny")
LEVELS = (0.2, 0.5, 0.9)


@pytest.fixture(scope="module")
def measure() -> LevelLosses:
    return LevelLosses(CONFIG, make_codec(CONFIG), TextEncoder())


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """Clips of independent pixels, about which nothing is known but mean and variance."""
    draw = torch.Generator().manual_seed(0)
    shape = (CONFIG.frames, CONFIG.height, CONFIG.width_px, 3)
    said = Captions("snow", "Snow.", ("snow",))
    return [Clip(torch.randint(64, 192, shape, generator=draw, dtype=torch.uint8), 8.0, said) for _ in range(24)]


def linear(mean: Tensor, variance: Tensor) -> object:
    """The best velocity of jointly normal numbers: the conditional mean of n - x given x_t."""

    def velocity(pack: Pack) -> Tensor:
        level = pack.token_levels[:, None]
        gain = (level - (1 - level) * variance) / ((1 - level) ** 2 * variance + level**2)
        return gain * (pack.tokens - (1 - level) * mean) - mean

    return velocity


def test_the_gaussian_control_is_what_mean_and_variance_reach(measure: LevelLosses, clips: list[Clip]) -> None:
    tokens = torch.cat([measure.tokens(clip) for clip in clips])
    model = linear(tokens.mean(dim=0), tokens.var(dim=0))
    found = measure.losses(model, clips, ["snow"] * len(clips), LEVELS)  # type: ignore[arg-type]
    assert found.shape == (len(clips), len(LEVELS))
    assert found.mean(dim=0).tolist() == pytest.approx(measure.gaussian(clips, LEVELS).tolist(), rel=0.05)


def test_losses_are_the_same_every_time_and_of_each_clip_alone(measure: LevelLosses, clips: list[Clip]) -> None:
    def still(pack: Pack) -> Tensor:
        return torch.zeros_like(pack.tokens)

    together = measure.losses(still, clips[:3], ["snow"] * 3, LEVELS)
    assert torch.equal(together, measure.losses(still, clips[:3], ["snow"] * 3, LEVELS))
    assert torch.equal(together[:1], measure.losses(still, clips[:1], ["snow"], LEVELS))
