"""The optimiser of a training and its learning rate, which is a function of the step alone."""

import math
from typing import Final

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

_BETAS: Final = (0.9, 0.95)
_WEIGHT_DECAY: Final = 0.01
_WARM_UP_SHARE: Final = 0.05


def make_optimizer(
    model: nn.Module,
    lr: float,
    steps: int,
    *,
    weight_decay: float = _WEIGHT_DECAY,
    warm_up_share: float = _WARM_UP_SHARE,
) -> tuple[AdamW, LambdaLR]:
    """AdamW and its schedule, stepped once per optimizer step: linear warm-up, then half a cosine to zero.

    Weight decay applies to matrices only, not to gains, biases, tables and the null token.
    """
    matrices = [m.weight for m in model.modules() if isinstance(m, nn.Linear | nn.Conv3d) and m.weight.requires_grad]
    decaying = {id(weight) for weight in matrices}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in decaying]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = AdamW(groups, lr=lr, betas=_BETAS, fused=True)
    return optimizer, LambdaLR(optimizer, lambda step: learning_rate_share(step, steps, warm_up_share))


def learning_rate_share(step: int, steps: int, warm_up_share: float = _WARM_UP_SHARE) -> float:
    """Share in [0, 1] of the full learning rate at `step` of `steps`, both in optimizer steps."""
    warm_up = max(1, round(steps * warm_up_share))
    if step < warm_up:
        return (step + 1) / warm_up
    progress = min(1.0, (step - warm_up) / max(1, steps - warm_up))
    return 0.5 * (1 + math.cos(math.pi * progress))
