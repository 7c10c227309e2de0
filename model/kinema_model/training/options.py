"""How a training computes, beside what it computes: precision, compilation, recomputation, averaging, clipping."""

from dataclasses import dataclass
from typing import Final

import torch

from kinema_model.errors import ConfigError
from kinema_model.network.recompute import Recompute

EMA_DECAY: Final = 0.99
GRADIENT_CLIP: Final = 1.0


@dataclass(frozen=True)
class LearnerOptions:
    """Options of a `Learner`. Weights, AdamW's moments and the average are float32 whatever the precision.

    `ema_decay` is the decay of the averaged weights (`Ema`); `gradient_clip` bounds the norm of the gradient.

    Raises:
        ConfigError: selective recomputation of compiled blocks, which the compiler does on its own.
    """

    precision: torch.dtype = torch.float32
    compiled: bool = False
    recompute: Recompute = "none"
    ema_decay: float = EMA_DECAY
    gradient_clip: float = GRADIENT_CLIP

    def __post_init__(self) -> None:
        if self.compiled and self.recompute == "selective":
            raise ConfigError(
                "Selective recomputation and compiled blocks exclude each other: the compiler chooses what to "
                "recompute. Use 'none' or 'full' with compiled blocks."
            )
