"""From a training's choice of model to the model package's config; imports no torch, so that it is checked first."""

from __future__ import annotations

from kinema_api.run import RunConfig
from kinema_model.config import ModelConfig


def model_config_of(config: RunConfig) -> ModelConfig:
    """The shape of the network. Raises ModelError."""
    overrides = config.model.overrides
    changes = overrides.model_dump(exclude_none=True) if overrides else {}
    return ModelConfig.from_preset(config.model.preset, **changes)
