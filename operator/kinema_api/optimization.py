"""How a training's network is optimised."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from kinema_api.base import MESSAGE_ERROR, ApiModel, cel_rules
from kinema_api.finetune import Lora
from kinema_api.samples import TrainingSamples

COMPILED_SELECTIVE: Final = (
    "compile and activationCheckpointing: selective exclude each other, since the compiler chooses what to recompute: "
    "use none or full"
)

RATE: Final = 3e-3
FINE_TUNING_RATE: Final = 1e-3
LORA_RATE: Final = 1e-2


class Optimization(ApiModel):
    """Optimisation of the network."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            ("!self.compile || self.activationCheckpointing != 'selective'", COMPILED_SELECTIVE)
        )
    )

    steps: Annotated[int, Field(ge=1, le=10_000_000)]
    """Optimizer steps in all."""
    batch_tokens: Annotated[int, Field(ge=64, le=16_777_216)] = 4096
    """Latent tokens per optimizer step over all nodes, independent of the number of nodes."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """Peak learning rate of AdamW. Default: 0.003; for a model that begins with the weights of another, 0.001, and with
    lora 0.01."""
    lora: Lora | None = None
    """Train low-rank adapters of the base alone: checkpoints and the state of the optimizer are small. Default: all
    weights are trained."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Random seed of weights, sample order, noise and dropout."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of matrix products: auto is bfloat16 on GPUs that have it (Ampere and later), else float32. Weights,
    optimizer state and averaged weights are float32 in any case."""
    compile: bool = False
    """Compile the blocks of the network with torch.compile: minutes at the start of a round, faster steps on a GPU.
    Ignored where there is no compiler."""
    activation_checkpointing: Literal["none", "selective", "full"] = "none"
    """Activations that are recomputed in the backward pass to save memory: selective keeps the outputs of products and
    attention, full only the inputs of blocks."""
    micro_batch_tokens: Annotated[int, Field(ge=1, le=16_777_216)] | None = None
    """Most latent tokens that a worker computes at once; gradients add up to those of the whole step. Default: as
    many as fit in memory."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the averaged weights, which are published; 0.999 or more for trainings of many thousand steps."""
    gradient_clip: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Largest norm of the gradient."""
    samples: TrainingSamples | None = None
    """Clips to make while the training runs; default: none."""
    data_workers: Annotated[int, Field(ge=0, le=64)] | None = None
    """Processes of each worker that make batches ahead; 0: batches are made when they are needed. Default: 0 on a CPU,
    else half of the worker's share of the cores, at most 8."""

    def rate(self, *, fine_tuning: bool) -> float:
        """Peak learning rate, or its default for a model that begins with the weights of another, or does not."""
        if self.learning_rate is not None:
            return self.learning_rate
        return LORA_RATE if self.lora else FINE_TUNING_RATE if fine_tuning else RATE

    @model_validator(mode="after")
    def _compiled_or_selective(self) -> Self:
        if self.compile and self.activation_checkpointing == "selective":
            raise PydanticCustomError(MESSAGE_ERROR, COMPILED_SELECTIVE)
        return self
