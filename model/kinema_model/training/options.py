"""How a training computes, beside what it computes: precision, compilation, recomputation, averaging, clipping."""

from dataclasses import dataclass
from typing import Final, Literal

import torch

from kinema_model.errors import ConfigError
from kinema_model.network.recompute import Recompute

Precision = Literal["auto", "float32", "bfloat16"]
EMA_DECAY: Final = 0.99
GRADIENT_CLIP: Final = 1.0
_AMPERE: Final = 8


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


def precision_for(wanted: Precision, device: torch.device) -> torch.dtype:
    """The dtype of products: what is wanted or, for "auto", bfloat16 on GPUs that have it (Ampere and later)."""
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    if device.type != "cuda" or torch.cuda.get_device_capability(device)[0] < _AMPERE:
        return torch.float32
    return torch.bfloat16
