"""The training step as a LightningModule, and what happens between two steps.

The clips of a step depend on the previous steps alone (`kinema_model.packing.steps`), so a round of any size continues
with the next samples. Before gradients are averaged, one small all-reduce sums loss, tokens and the wish to stop;
afterwards the ranks agree whether the norm of the gradients is finite. So all ranks see NaN at the same step, before
it reaches the weights, and stop at the same step of a planned end.
"""

from __future__ import annotations

import math
import signal
import statistics
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

import torch
import torch.distributed as dist
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import ParallelStrategy
from torch import nn
from torch.utils.data import IterableDataset

from kinema_jobs.memory import is_out_of_memory
from kinema_jobs.rendezvous.errors import StaleRound
from kinema_jobs.train.failures import MemoryExhausted, NumericsFailure, out_of_memory_advice
from kinema_jobs.train.group import Group
from kinema_jobs.train.lease import Lease
from kinema_jobs.train.pieces import PieceLimit, pieces
from kinema_model.diffusion.flow import LEVEL_BINS, FlowLoss
from kinema_model.ema import trained_parameters
from kinema_model.errors import DataWorkerLost
from kinema_model.packing.planning import StreamState
from kinema_model.packing.steps import Step, Steps
from kinema_model.training.feed import Feed, PendingBatch
from kinema_model.training.learner import DenoiserLearner

_RECENT_STEPS: Final = 20
StepBatch = tuple[Step, list[PendingBatch]]
"""A step and this rank's share of it, in pieces that are computed one after another."""


class Shares(IterableDataset[StepBatch]):
    """This rank's share of every step from `start` on; `state` is that of the planner after the previous steps."""

    def __init__(
        self,
        steps: Steps,
        start: int,
        total: int,
        state: StreamState,
        group: Group,
        feed: Feed,
        limit: PieceLimit | None = None,
    ) -> None:
        self._steps, self._start, self._total, self._state = steps, start, total, state
        self._group, self._feed, self._limit = group, feed, limit

    def __len__(self) -> int:
        return max(0, self._total - self._start)

    def __iter__(self) -> Iterator[StepBatch]:
        walk = self._steps.walk(self._start, self._total, self._state)
        return self._feed.steps((step, step.number, self._pieces(step)) for step in walk)

    def _pieces(self, step: Step) -> list[list[int]]:
        indices = step.of(self._group.rank, self._group.world_size)
        if self._limit is None:
            return [indices] if indices else []
        loads = {load.sample: load for load in step.loads}
        return pieces([loads[index] for index in indices], self._limit.tokens)


def nothing(model: nn.Module) -> FlowLoss:
    """A loss without tokens that gives every trained parameter a zero gradient."""
    total = torch.stack([p.sum() for p in trained_parameters(model).values()]).sum() * 0.0
    zeros = torch.zeros(LEVEL_BINS, device=total.device)
    return FlowLoss(total, zeros.sum(), zeros, zeros)


class DenoiserModule(LightningModule):
    """Trains a video model by the model package's objective. `after_step` is called between steps, on every rank."""

    def __init__(
        self,
        learner: DenoiserLearner,
        group: Group,
        lease: Lease,
        after_step: Callable[[DenoiserModule], None],
        skipped: Collection[int] = (),
    ) -> None:
        super().__init__()
        # Lightning's own loop has no hook between the averaging of gradients and the optimizer's step.
        self.automatic_optimization = False
        self.model = learner.model
        self.done: Step | None = None
        """The last step taken."""
        self.global_loss = 0.0
        self.level_losses: tuple[float | None, ...] = ()
        """The loss of the last step by noise level, over the whole group; None for a level without tokens."""
        self.stopping = False
        """The group has agreed to end this round after the current step."""
        self._learner = learner
        self._group, self._lease = group, lease
        self._after_step = after_step
        self._skipped = frozenset(skipped)
        self._durations: deque[float] = deque(maxlen=_RECENT_STEPS)
        self._step_began = time.perf_counter()

    @property
    def step_seconds(self) -> float | None:
        """Median duration of recent steps, without checkpoints."""
        return statistics.median(self._durations) if self._durations else None

    def configure_optimizers(self) -> Any:
        """See LightningModule."""
        schedule = {"scheduler": self._learner.schedule, "interval": "step"}
        return {"optimizer": self._learner.optimizer, "lr_scheduler": schedule}

    def transfer_batch_to_device(self, batch: StepBatch, device: torch.device, dataloader_idx: int) -> StepBatch:
        """The learner moves a piece when it is computed, so the device holds one at a time."""
        return batch

    def on_train_start(self) -> None:
        """Remove Lightning's signal handlers: the agent alone decides when a worker stops."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def training_step(self, batch: StepBatch, _: int) -> None:
        """One optimizer step on a global batch; a step that is to be skipped takes its samples and changes nothing."""
        self._step_began = time.perf_counter()
        if not self._lease.held():
            raise StaleRound(f"the lease of round {self._group.place.number} has expired: this worker must stop")
        step, share = batch
        self._learner.begin()
        if step.number in self._skipped:
            self._agree(step, None)
        else:
            self._learn(step, share)
            self._learner.apply()
        self._learner.schedule.step()

    def _learn(self, step: Step, share: Sequence[PendingBatch]) -> None:
        """Compute the clipped gradient of the global batch's loss per token."""
        # DDP takes the mean over ranks of gradients; this makes it the sum per token of the step.
        scale = self._group.world_size / step.tokens
        results = []
        strategy = self.trainer.strategy
        assert isinstance(strategy, ParallelStrategy)
        with strategy.block_backward_sync():
            for piece in share[:-1]:
                found = self._loss(piece, step)
                self.manual_backward(found.total * scale)
                results.append(found.detached())
        # With more ranks than clips, some contribute a zero gradient to the collectives.
        found = self._loss(share[-1], step) if share else nothing(self.model)
        count = self._agree(step, FlowLoss.summed([*results, found.detached()]))
        self.manual_backward(found.total * scale)
        self._clip(step, step.tokens / count)

    def _loss(self, piece: PendingBatch, step: Step) -> FlowLoss:
        """Raises MemoryExhausted if a single clip does not fit, or a process that makes batches was killed."""
        try:
            return self._learner.loss(*piece.make())
        except DataWorkerLost as error:
            raise MemoryExhausted(
                out_of_memory_advice("a process that makes batches has ended"), step.number
            ) from error
        except (MemoryError, RuntimeError) as error:
            if len(piece.samples) > 1 or not is_out_of_memory(error):
                raise
            raise MemoryExhausted(out_of_memory_advice("out of memory with a single clip"), step.number) from error

    def _agree(self, step: Step, result: FlowLoss | None) -> float:
        """Sum loss and the wish to stop over the group; returns the tokens that the step's loss counts.

        Raises:
            NumericsFailure: the loss is not finite, on every rank.
        """
        stop = torch.tensor([float(self._lease.stop_asked())], device=self._group.device, dtype=torch.float64)
        if result is None:
            dist.all_reduce(stop)
            self.stopping = bool(stop > 0)
            return 0.0
        mine = [result.total.detach()[None], result.count[None], stop, result.bin_total, result.bin_count]
        sums = torch.cat([part.double() for part in mine])
        dist.all_reduce(sums)
        # One read of the device: each makes the CPU wait for it.
        total, counted, stops, *bins = sums.tolist()
        count: float = max(1.0, counted)
        self.global_loss, self.stopping = total / count, stops > 0
        pairs = zip(bins[:LEVEL_BINS], bins[LEVEL_BINS:], strict=True)
        self.level_losses = tuple(error / tokens if tokens else None for error, tokens in pairs)
        if not math.isfinite(self.global_loss):
            raise _not_finite("loss", self.global_loss, step)
        return count

    def _clip(self, step: Step, scale: float) -> None:
        """Scale the gradients and bound their norm.

        Raises:
            NumericsFailure: on every rank, before the weights change, if the norm is not finite on some rank.
        """
        norm = self._learner.norm(scale)
        # Averaged gradients are equal on all ranks, but their norm may differ between kinds of devices.
        broken = (~torch.isfinite(norm)).double()[None]
        dist.all_reduce(broken)
        if broken > 0:
            raise _not_finite("gradients' norm", float(norm), step)
        self._learner.clip(norm)

    def on_train_batch_end(self, outputs: Any, batch: StepBatch, batch_idx: int) -> None:
        """See LightningModule."""
        self.done = batch[0]
        self._durations.append(time.perf_counter() - self._step_began)
        self._after_step(self)
        if self.stopping:
            self.trainer.should_stop = True


def _not_finite(what: str, value: float, step: Step) -> NumericsFailure:
    return NumericsFailure(
        f"the {what} of step {step.number + 1} is {value}: lower optimization.learningRate or look at samples "
        f"{min(step.samples)} to {max(step.samples)}",
        step=step.number,
    )
