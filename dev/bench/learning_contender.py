"""How every contender of the learning benchmark is trained: one optimiser, one schedule, one average of weights.

Equal for all on purpose, so that what differs is the network and its objective. The rate stays level after the
warm-up, because the duration of a run is the result and not known before.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from kinema_model.training.learner import Learner
from kinema_model.training.optimizer import make_optimizer
from kinema_model.training.options import LearnerOptions
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
        self._averaged = copy.deepcopy(model).eval()
        optimizer = make_optimizer(model, lr, _HORIZON, warm_up_share=WARM_UP_STEPS / _HORIZON)
        self._learner = Learner(model, *optimizer, LearnerOptions())
        self.ema = self._learner.ema

    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def train_step(self, step: int) -> float:
        """One optimiser step on the samples of `step`; its loss."""
        learner = self._learner
        learner.begin()
        loss = self.objective.loss(self.model, step)
        torch.autograd.backward(loss)
        learner.clip(learner.norm())
        learner.apply()
        learner.schedule.step()
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
            "optimizer": self._learner.optimizer.state_dict(),
            "schedule": self._learner.schedule.state_dict(),
            "ema": self.ema.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._learner.optimizer.load_state_dict(state["optimizer"])
        self._learner.schedule.load_state_dict(state["schedule"])
        self.ema.load_state_dict(state["ema"])
        self._averaged.load_state_dict(state["model"])
