"""Levels and steps of a folder's scheduler: UniPC or Euler along the flow, spaced as diffusers spaces them.

diffusers' levels are not those of `kinema_model.diffusion.sampler`: they end above zero and are shifted otherwise.
"""

from typing import Any, Final

import torch
from torch import Tensor

from kinema_model.errors import ShapeError
from kinema_model.open_weights.configs import EulerConfig, UniPcConfig

MAX_STEPS: Final = 1000


class Schedule:
    """One clip's way from noise; schedulers keep state, so every clip has its own.

    `shift` replaces that of the folder: larger ones spend more steps near noise, as larger clips need
    (Esser et al. 2024, arXiv:2403.03206, section 5.3.2). Raises `ShapeError` for a number of steps that none has.
    """

    def __init__(
        self, config: UniPcConfig | EulerConfig, steps: int, device: torch.device, shift: float | None = None
    ) -> None:
        if not 1 <= steps <= MAX_STEPS:
            raise ShapeError(f"{steps} denoising steps cannot make a clip. Use 1 to {MAX_STEPS}.")
        self._scheduler = _scheduler(config, shift)
        self._scheduler.set_timesteps(steps, device=device)
        self._scheduler.set_begin_index(0)
        self._scale = config.num_train_timesteps

    @property
    def levels(self) -> list[float]:
        """Noise level in (0, 1] of each step, falling."""
        return [float(timestep) / self._scale for timestep in self._scheduler.timesteps]

    def step(self, number: int, velocity: Tensor, latents: Tensor) -> Tensor:
        """Latents after step `number`, both float32 and of one shape; called once for each number in order."""
        stepped: Tensor = self._scheduler.step(velocity, self._scheduler.timesteps[number], latents, return_dict=False)[
            0
        ]
        return stepped


def _scheduler(config: UniPcConfig | EulerConfig, shift: float | None) -> Any:
    """diffusers' scheduler of the config, made of its checked fields alone."""
    fields = config.model_dump(mode="json", exclude={"solver_p"})
    if isinstance(config, UniPcConfig):
        from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

        return UniPCMultistepScheduler(**(fields if shift is None else fields | {"flow_shift": shift}))
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**(fields if shift is None else fields | {"shift": shift}))
