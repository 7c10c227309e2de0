"""How every contender of the learning benchmark is trained: one optimiser, one schedule, one average of weights.

Equal for all on purpose, so that what differs is the network and its objective. The rate stays level after the
warm-up, because how long a run takes is what is asked.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from kinema_model.ema import Ema
from kinema_model.training import EMA_DECAY, GRADIENT_CLIP, make_optimizer
from kinema_world import Video

WARM_UP_STEPS = 20
_HORIZON = 10_000_000
"""Steps of the cosine, so many that it stays at 1 in any run."""


class Objective(Protocol):
    """What a network learns, and how clips are drawn from it."""

    def loss(self, model: nn.Module, step: int) -> Tensor:
        """Scalar loss of the samples of a step."""
        ...

    def sample(self, model: nn.Module, prompts: Sequence[str], seeds: Sequence[int]) -> Video:
        """Clips uint8 (B, T, H, W, 3), one per prompt and seed."""
        ...


class Trained:
    """A network with its objective and optimiser: a `Contender`."""

    def __init__(self, name: str, model: nn.Module, objective: Objective, lr: float) -> None:
        self.name = name
        self.model = model
        self.objective = objective
        self.ema = Ema(model, EMA_DECAY)
        self._averaged = copy.deepcopy(model).eval()
        self._optimizer, self._schedule = make_optimizer(model, lr, _HORIZON, warm_up_share=WARM_UP_STEPS / _HORIZON)

    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def train_step(self, step: int) -> float:
        """One optimiser step on the samples of `step`; its loss."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = self.objective.loss(self.model, step)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_CLIP)
        self._optimizer.step()
        self._schedule.step()
        self.ema.update(self.model)
        return float(loss.detach())

    @torch.inference_mode()
    def sample(self, prompts: Sequence[str], seeds: Sequence[int]) -> Video:
        """Clips uint8 (B, T, H, W, 3) of the averaged weights."""
        self.ema.copy_to(self._averaged)
        return self.objective.sample(self._averaged, prompts, seeds)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "ema": self.ema.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self.ema.load_state_dict(state["ema"])
        self._averaged.load_state_dict(state["model"])
