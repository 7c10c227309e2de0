"""The training step as a LightningModule, and what happens between two steps.

A step's clips follow from the steps before it alone (`kinema_model.steps`), so a round of any size goes on with the
very samples that follow; before each backward the ranks sum (loss, tokens, wish to stop) in one small all-reduce, by
which they see NaN at the same step, before it reaches the weights, and agree on the step at which a planned end stops
them.
"""

from __future__ import annotations

import signal
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
import torch.distributed as dist
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import IterableDataset

from kinema_jobs.rendezvous.errors import StaleRound
from kinema_jobs.train.failures import NumericsFailure
from kinema_jobs.train.group import Group
from kinema_jobs.train.lease import Lease
from kinema_model.ema import Ema
from kinema_model.flow import LEVEL_BINS, FlowLoss
from kinema_model.packing import StreamState
from kinema_model.steps import Step, Steps
from kinema_model.training import TrainingObjective
from kinema_model.video_model import VideoModel

_RECENT_STEPS: Final = 20
Batch = tuple[Step, list[int]]
"""A step and this rank's sample ids of it."""


class Shares(IterableDataset[Batch]):
    """This rank's share of every step from `start` on, where `state` is what the steps before left."""

    def __init__(self, steps: Steps, start: int, total: int, state: StreamState, group: Group) -> None:
        self._steps, self._start, self._total = steps, start, total
        self._state, self._group = state, group

    def __len__(self) -> int:
        return max(0, self._total - self._start)

    def __iter__(self) -> Iterator[Batch]:
        for step in self._steps.walk(self._start, self._total, self._state):
            yield step, step.of(self._group.rank, self._group.world_size)


def nothing(model: VideoModel) -> FlowLoss:
    """A loss of no token that still gives every parameter a gradient, of zero."""
    total = torch.stack([p.sum() for p in model.parameters()]).sum() * 0.0
    zeros = torch.zeros(LEVEL_BINS, device=total.device)
    return FlowLoss(total, zeros.sum(), zeros, zeros)


class VideoModelModule(LightningModule):
    """Trains a video model by the model package's objective. `after_step` is called between steps, on every rank."""

    def __init__(
        self,
        model: VideoModel,
        objective: TrainingObjective,
        optimizer: tuple[Optimizer, LambdaLR],
        ema: Ema,
        group: Group,
        lease: Lease,
        after_step: Callable[[VideoModelModule], None],
    ) -> None:
        super().__init__()
        self.model = model
        self.ema = ema
        self.done: Step | None = None
        """The last step taken."""
        self.global_loss = 0.0
        self.level_losses: tuple[float | None, ...] = ()
        """The loss of the last step by noise level, over the whole group; None where it had no such token."""
        self.stopping = False
        """The group has agreed to end this round after the present step."""
        self._objective, self._optimizer = objective, optimizer
        self._group, self._lease = group, lease
        self._after_step = after_step
        self._durations: deque[float] = deque(maxlen=_RECENT_STEPS)
        self._step_began = time.perf_counter()

    @property
    def step_seconds(self) -> float | None:
        """Median duration of recent steps, without checkpoints."""
        return statistics.median(self._durations) if self._durations else None

    def configure_optimizers(self) -> Any:
        """See LightningModule."""
        optimizer, schedule = self._optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """A batch is ids: the objective makes the clips, on its own device."""
        return batch

    def on_train_start(self) -> None:
        """Take back from Lightning what the agent decides alone: when a worker stops."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of one global batch, scaled so that DDP's mean of gradients is that of the whole batch."""
        self._step_began = time.perf_counter()
        if not self._lease.held():
            raise StaleRound(f"the lease of round {self._group.place.number} has run out: this worker may not go on")
        step, indices = batch
        # With more ranks than clips, some take part in the collectives with a gradient of nothing.
        result = self._objective.loss(self.model, indices, step.number) if indices else nothing(self.model)
        stop = torch.tensor([float(self._lease.stop_asked())], device=result.total.device)
        mine = [result.total.detach()[None], result.count[None], stop, result.bin_total, result.bin_count]
        sums = torch.cat([part.double() for part in mine])
        dist.all_reduce(sums)
        self.global_loss, self.stopping = float(sums[0] / sums[1]), bool(sums[2] > 0)
        totals, counts = sums[3:].chunk(2)
        self.level_losses = tuple(float(t / n) if n else None for t, n in zip(totals, counts, strict=True))
        if not torch.isfinite(sums[0]):
            raise NumericsFailure(
                f"the loss of step {step.number + 1} is {self.global_loss}: lower optimization.learningRate or look at "
                f"samples {min(step.samples)} to {max(step.samples)}",
                step=step.number,
            )
        # DDP takes the mean over ranks of gradients; this makes it that of the loss per token of the whole group.
        return result.total * (self._group.world_size / float(sums[1]))

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """See LightningModule."""
        self.ema.update(self.model)
        self.done = batch[0]
        self._durations.append(time.perf_counter() - self._step_began)
        self._after_step(self)
        if self.stopping:
            self.trainer.should_stop = True
