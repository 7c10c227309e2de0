"""Fixtures that the model's tests share: small configs, and models with no layer left at zero."""

from collections.abc import Callable

import pytest
import torch

from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.text.encoder import TextEncoder
from unit.model.clips import small_network
from unit.one_thread import one_thread as one_thread


@pytest.fixture(scope="session")
def encoder() -> TextEncoder:
    return TextEncoder()


@pytest.fixture
def small_config() -> ModelConfig:
    return ModelConfig.from_preset("tiny").model_copy(
        update={"network": small_network(), "frames": 3, "height": 8, "width_px": 12}
    )


@pytest.fixture
def awake() -> Callable[..., VideoDenoiser]:
    """Builds a model with every parameter drawn at random, so that no path is silenced by a zero."""

    def build(config: ModelConfig, seed: int = 0) -> VideoDenoiser:
        torch.manual_seed(seed)
        model = VideoDenoiser(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        return model.eval()

    return build
