"""The published weights: an exponential moving average (EMA) of the trained ones, in float32."""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from kinema_model.errors import ShapeError

_WARM_UP: Final = 10.0


class Ema:
    """Average of a model's trained parameters: a <- d a + (1 - d) w, with d = min(`decay`, n / (10 + n)) at update n.

    The first weights are random, so a full decay from the start would keep them in the average for too long. Frozen
    parameters are not averaged: adapters leave most of a model as it is.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow = {name: p.detach().float().clone() for name, p in trained_parameters(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Add the parameters of `model` to the average, once per optimizer step."""
        parameters = dict(model.named_parameters())
        weights = [parameters[name].detach().float() for name in self.shadow]
        self.updates += 1
        decay = min(self.decay, self.updates / (_WARM_UP + self.updates))
        torch._foreach_lerp_(list(self.shadow.values()), weights, 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """`shadow.<parameter>` in its shape, float32, and `updates` () int64; tensors only, as DCP requires."""
        return {**{f"shadow.{k}": v for k, v in self.shadow.items()}, "updates": torch.tensor(self.updates)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned. Raises `ShapeError` for the average of another model."""
        if set(state) != {*(f"shadow.{k}" for k in self.shadow), "updates"}:
            raise ShapeError("The averaged weights are of another model. Resume with the model's own config.")
        for name, shadow in self.shadow.items():
            shadow.copy_(state[f"shadow.{name}"])
        self.updates = int(state["updates"])

    def to(self, device: torch.device | str) -> "Ema":
        """This average, moved to `device`."""
        self.shadow = {name: tensor.to(device) for name, tensor in self.shadow.items()}
        return self

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Overwrite the model's trained parameters with the average."""
        parameters = dict(model.named_parameters())
        for name, average in self.shadow.items():
            parameters[name].copy_(average)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that an optimiser changes, by name: those that are not frozen."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
