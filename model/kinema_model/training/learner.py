"""One optimiser step: the piece that every training runs, whoever leads it.

The trainer of the product puts collectives between the parts of a step; the proof and the benchmarks put a clock around
it. What is computed, in which precision, and what of it is kept is the same for all of them.
"""

from collections.abc import Iterable, Mapping
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from kinema_model.adapters.lora import LoraConfig, add_lora, lora_state, merged_state
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser, lowest_level
from kinema_model.diffusion.flow import FlowLoss, flow_loss
from kinema_model.ema import Ema, trained_parameters
from kinema_model.errors import ConfigError, ShapeError
from kinema_model.network.compiling import compile_blocks, has_compiler
from kinema_model.network.pack import Pack
from kinema_model.network.recompute import Recompute
from kinema_model.training.optimizer import make_optimizer
from kinema_model.training.options import LearnerOptions

Network = TypeVar("Network", bound=nn.Module)


class Learner(Generic[Network]):
    """A network in training with its optimiser and its average, all in float32 on one device. Frozen parameters stay
    as they are, in any dtype.

    A step is `begin`, backward passes, `clip` by `norm`, `apply`; then the schedule is stepped by whoever leads.
    """

    def __init__(self, model: Network, optimizer: Optimizer, schedule: LambdaLR, options: LearnerOptions) -> None:
        self.model, self.optimizer, self.schedule, self.options = model, optimizer, schedule, options
        self.device = next(model.parameters()).device
        self.ema = Ema(model, options.ema_decay)

    def begin(self) -> None:
        """Drop the gradients of the step before."""
        self.optimizer.zero_grad()

    def norm(self, scale: float | Tensor = 1.0) -> Tensor:
        """() norm of the gradient, which is multiplied by `scale` first."""
        gradients = [p.grad for p in self._touched() if p.grad is not None]
        if not isinstance(scale, float) or scale != 1:
            torch._foreach_mul_(gradients, scale)
        return nn.utils.get_total_norm(gradients)

    def clip(self, norm: Tensor) -> None:
        """Bound the gradient, whose norm is known."""
        nn.utils.clip_grads_with_norm_(self._touched(), self.options.gradient_clip, norm)

    def apply(self) -> None:
        """Take the step, and the new weights into the average."""
        self.optimizer.step()
        self.ema.update(self.model)

    def _touched(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.grad is not None]


class DenoiserLearner(Learner[VideoDenoiser]):
    """A denoiser in training: products in the precision of its options, blocks compiled or recomputed as they say."""

    def __init__(self, model: VideoDenoiser, optimizer: Optimizer, schedule: LambdaLR, options: LearnerOptions) -> None:
        super().__init__(model, optimizer, schedule, options)
        model.precision = options.precision
        self.recompute(options.recompute)
        self.compiled = options.compiled and has_compiler(self.device)
        if self.compiled:
            compile_blocks(model.network)

    @classmethod
    def build(
        cls,
        config: ModelConfig,
        options: LearnerOptions,
        *,
        learning_rate: float,
        steps: int,
        device: torch.device | str = "cpu",
        lora: LoraConfig | None = None,
    ) -> Self:
        """A denoiser drawn by torch's global generator; `steps` are those of the schedule of the rate.

        With `lora` it is frozen, adapters are trained, and `begin_from` has to follow. Raises `ConfigError` where the
        rank exceeds the width.
        """
        model = VideoDenoiser(config)
        if lora is not None:
            add_lora(model.network, lora)
        model.to(device)
        return cls(model, *make_optimizer(model, learning_rate, steps), options)

    @property
    def frozen(self) -> bool:
        """Whether some weights stay as they are, so that checkpoints do not hold them."""
        return len(self.ema.shadow) < sum(1 for _ in self.model.parameters())

    @torch.no_grad()
    def begin_from(self, base: Mapping[str, Tensor]) -> None:
        """Take the weights of a model: `base` has those of a denoiser without adapters, by name and in any dtype.

        Raises:
            ConfigError: `base` has not the names and shapes of this denoiser.
        """
        own = {**self.model.state_dict()}
        for name in lora_state(self.model.network):
            del own[f"network.{name}"]
        for name in sorted({*own, *base}):
            mine, theirs = own.get(name), base.get(name)
            if mine is None or theirs is None or mine.shape != theirs.shape:
                shapes = ["nowhere" if found is None else str(tuple(found.shape)) for found in (theirs, mine)]
                raise ConfigError(
                    f"{name} is {shapes[0]} in the base and {shapes[1]} in the model. Train the base's own network: "
                    "leave width, depth and heads as they are."
                )
            mine.copy_(theirs)
        self.ema = Ema(self.model, self.options.ema_decay)

    def trained_state(self) -> dict[str, Tensor]:
        """What a checkpoint holds of the weights: those that are trained, by name, in use and not copied."""
        return dict(trained_parameters(self.model))

    def load_trained(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `trained_state` returned. Raises `ShapeError` for the weights of another model."""
        if set(state) != set(self.trained_state()):
            raise ShapeError("The checkpoint holds the weights of another model. Resume with the model's own config.")
        self.model.load_state_dict(state, strict=False)

    def published_state(self) -> dict[str, Tensor]:
        """The averaged weights by the names of a denoiser without adapters, each adapter merged into its layer."""
        return merged_state(self.model, self.ema.shadow)

    def averaged_adapters(self) -> dict[str, Tensor]:
        """The averaged adapters by peft's names, as `lora_state`; none where all weights are trained."""
        names = lora_state(self.model.network)
        return {name: self.ema.shadow[f"network.{name}"] for name in names}

    def recompute(self, mode: Recompute, blocks: int | None = None) -> None:
        """Let so many first blocks (None: all) keep only what `mode` allows for the way back."""
        self.model.network.recompute, self.model.network.recomputed_blocks = mode, blocks

    def loss(self, clean: Pack, noise: Tensor) -> FlowLoss:
        """The loss of clean latents at their levels, with noise (N, C pt ph pw) on any device."""
        clean, noise = clean.to(self.device), noise.to(self.device)
        return flow_loss(self.model, clean, noise, lowest_level(self.model.config))

    def learn(self, pieces: Iterable[tuple[Pack, Tensor]]) -> Tensor:
        """() A whole step on pieces that together are its batch: their mean loss per token, still on the device."""
        self.begin()
        results = []
        for clean, noise in pieces:
            found = self.loss(clean, noise)
            torch.autograd.backward(found.total)
            results.append(found.detached())
        total = FlowLoss.summed(results)
        self.clip(self.norm(1 / total.count.clamp(min=1)))
        self.apply()
        return total.mean
