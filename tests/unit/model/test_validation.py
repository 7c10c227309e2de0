from collections.abc import Callable, Sequence
from typing import cast

import pytest
import torch

from kinema_model import validation
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.ema import Ema
from kinema_model.source import Clip, Source
from kinema_model.text.encoder import TextEncoder
from kinema_model.training.objective import TrainingObjective
from kinema_model.training.optimizer import make_optimizer
from kinema_model.validation import SAMPLES, Validation
from kinema_world import World
from kinema_world.source import WorldSource


@pytest.fixture
def config() -> ModelConfig:
    return ModelConfig.from_preset("tiny", width=32, depth=1, heads=2)


def test_it_is_the_same_in_every_run_and_falls_with_training(config: ModelConfig, encoder: TextEncoder) -> None:
    world = World.fixed(3, config.frames, config.height, config.width_px, config.fps)
    other = World.fixed(4, config.frames, config.height, config.width_px, config.fps)
    torch.manual_seed(0)
    model = VideoDenoiser(config)
    ema = Ema(model, 0.9)
    measured = Validation(config, encoder, WorldSource(world))
    before = measured.loss(model, ema.shadow)
    assert before == Validation(config, TextEncoder(), WorldSource(other)).loss(model, ema.shadow)
    objective = TrainingObjective(config, encoder, WorldSource(world), seed=1)
    optimizer, schedule = make_optimizer(model, 3e-3, 12)
    for step in range(12):
        objective.loss(model, range(8 * step, 8 * step + 8), step).mean.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        ema.update(model)
    assert measured.loss(model, ema.shadow) < before


def test_it_is_told_by_the_given_weights_and_leaves_the_model_as_it_is(
    config: ModelConfig, encoder: TextEncoder, awake: Callable[..., VideoDenoiser]
) -> None:
    model, other = awake(config, 1), awake(config, 2)
    measured = Validation(config, encoder, WorldSource(World.fixed(3, 8, 24, 24, 8)))
    kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    theirs = measured.loss(model, dict(other.named_parameters()))
    assert theirs == measured.loss(other, dict(other.named_parameters()))
    assert theirs != measured.loss(model, kept)
    assert all(torch.equal(p, kept[name]) for name, p in model.named_parameters())


class Few:
    """A source that holds few clips out."""

    def __init__(self, count: int) -> None:
        world = WorldSource(World.fixed(3, 8, 24, 24, 8))
        self._clips = world.validation(count)

    def validation(self, count: int) -> Sequence[Clip]:
        return self._clips[:count]


@pytest.mark.parametrize("held_out", [1, 3, 16, 40])
def test_however_few_clips_are_held_out_all_levels_count(
    held_out: int, config: ModelConfig, encoder: TextEncoder, awake: Callable[..., VideoDenoiser]
) -> None:
    model = awake(config, 1)
    found = Validation(config, encoder, cast(Source, Few(held_out))).losses(model, {})
    assert all(loss is not None and loss > 0 for loss in found.by_level())
    assert found.count == SAMPLES * config.tokens_per_clip


def test_pieces_of_any_size_have_the_same_loss(
    config: ModelConfig, encoder: TextEncoder, awake: Callable[..., VideoDenoiser], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, source = awake(config, 1), WorldSource(World.fixed(3, 8, 24, 24, 8))
    whole = Validation(config, encoder, source).loss(model, {})
    monkeypatch.setattr(validation, "_MOST_TOKENS", 1)
    assert Validation(config, encoder, source).loss(model, {}) == pytest.approx(whole, rel=1e-5)
