"""What is trained in a round, and the Lightning Trainer that trains it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial
from typing import Any, Final, Self

import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.utils.data import DataLoader

from kinema_api.optimization import Optimization
from kinema_api.run import RunConfig
from kinema_jobs.train.base import Base
from kinema_jobs.train.data import DatasetAccess, RunData, data_of
from kinema_jobs.train.failures import BadConfiguration
from kinema_jobs.train.group import Group
from kinema_jobs.train.lease import Lease
from kinema_jobs.train.memory import require_memory
from kinema_jobs.train.module import DenoiserModule, Shares
from kinema_jobs.train.pieces import PieceLimit
from kinema_jobs.train.shape import model_config_of, task_mix_of
from kinema_model.adapters.lora import LoraConfig
from kinema_model.config import ModelConfig
from kinema_model.diffusion.flow import FlowLoss
from kinema_model.errors import ModelError
from kinema_model.packing.planning import StreamState
from kinema_model.packing.steps import Steps
from kinema_model.precision import precision_for
from kinema_model.source import Source
from kinema_model.text.encoder import TextEncoder
from kinema_model.text.reading import vocabulary
from kinema_model.training.feed import DataWorkers, Feed
from kinema_model.training.learner import DenoiserLearner
from kinema_model.training.objective import TrainingObjective
from kinema_model.training.options import LearnerOptions
from kinema_model.validation import Validation

_MOST_DATA_WORKERS: Final = 8


@dataclass
class TrainState:
    """Network, optimizer, schedule, averaged weights, and the position in the run."""

    model_config: ModelConfig
    learner: DenoiserLearner
    objective: TrainingObjective
    feed: Feed
    source: Source
    steps: Steps
    """Plans the clips of each step, for the whole group and independent of its size."""
    total: int
    """Optimizer steps in all."""
    skipped: tuple[int, ...] = ()
    """Numbers of steps, from 0, that are skipped: their loss was not finite twice."""
    base: Base | None = None
    """The model that the run begins with; None: weights are drawn at random."""
    limit: PieceLimit | None = None
    """Limit of a micro-batch; None: a whole share at once."""
    step: int = 0
    """Completed optimizer steps, over all rounds."""
    stream: StreamState = field(default_factory=StreamState)
    """Position in the source's clips after these steps."""
    tokens: int = 0
    """Tokens of the last step's clips."""
    loss: float = 0.0
    level_losses: tuple[float | None, ...] = ()
    validation: Validation | None = None
    """Made at first use; only rank 0 uses it."""
    step_seconds: float | None = None
    stopping: bool = False

    @classmethod
    def build(
        cls,
        config: RunConfig,
        group: Group,
        data_workers: DataWorkers | None = None,
        access: DatasetAccess | None = None,
        base: Base | None = None,
    ) -> Self:
        """Everything as it is before the first step; the same on every rank. `data_workers` make batches ahead.

        Of a run with a base, `begin` or `restore` has to follow.

        Raises:
            BadConfiguration: the model package refuses the configuration, the data do not fit the model's clips, or the
                base cannot be used.
            StorageFailure: the store of recorded clips, which are read by `access`, or of the base stayed away.
        """
        optimization = config.optimization
        seed_everything(optimization.seed, verbose=False)
        try:
            model_config = model_config_of(config, base.config() if base else None)
            data = data_of(config, model_config, access)
            steps = steps_of(config, data.source, model_config)
            limit = _piece_limit(config, model_config, steps, group, fine_tuning=base is not None)
            learner = DenoiserLearner.build(
                model_config,
                learner_options(optimization, group.device),
                learning_rate=config.learning_rate,
                steps=optimization.steps,
                device=group.device,
                lora=lora_config(optimization),
            )
        except ModelError as error:
            raise BadConfiguration(str(error)) from None
        objective = objective_of(config, model_config, data, group.device)
        return cls(
            model_config,
            learner,
            objective,
            Feed(objective, data_workers),
            data.source,
            steps,
            optimization.steps,
            skipped=config.skipped_steps,
            limit=limit,
            base=base,
        )

    def begin(self) -> None:
        """Take the weights of the base, if there is one.

        Raises:
            BadConfiguration: the base cannot be used.
            StorageFailure: the object store stayed away.
        """
        if self.base is None:
            return
        try:
            self.learner.begin_from(self.base.weights())
        except ModelError as error:
            raise BadConfiguration(f"spec.model.initFrom: {error}") from None

    @property
    def data_wait_seconds(self) -> float:
        """Seconds of waiting for data in this round."""
        return self.feed.waited

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Words of the captions that the model was trained on, those of its base among them, in order."""
        own = vocabulary(self.source.texts())
        return tuple(sorted({*own, *(self.base.words() if self.base else ())}))

    def validation_loss(self) -> float:
        """Mean of `validation_losses` per token."""
        return float(self.validation_losses().mean)

    def validation_losses(self) -> FlowLoss:
        """Loss of the averaged weights on clips that are the same in every run, in all and by noise level."""
        objective = self.objective
        if self.validation is None:
            self.validation = Validation(self.model_config, objective.encoder, self.source, objective.device)
        return self.validation.losses(self.learner.model, self.learner.ema.shadow)

    def state(self) -> dict[str, Any]:
        """The content of a checkpoint; existing tensors are those in use, not copies."""
        learner = self.learner
        return {
            "model": learner.trained_state(),
            "optimizer": get_optimizer_state_dict(learner.model, learner.optimizer),
            "ema": learner.ema.state_dict(),
            "loss": torch.tensor(self.loss, dtype=torch.float64),
            "stream": torch.tensor(self.stream.to_numbers(), dtype=torch.int64),
            **({"base": digest_bytes(self.base.digest)} if self.base else {}),
        }

    def restore(self, state: dict[str, Any], step: int) -> None:
        """Go on from a loaded checkpoint.

        Raises:
            BadConfiguration: it was trained from another base, or its adapters need the base, which cannot be used.
            StorageFailure: the object store of the base stayed away.
        """
        learner, schedule = self.learner, self.learner.schedule
        if self.base and not torch.equal(state["base"], digest_bytes(self.base.digest)):
            other = f"sha256:{bytes(state['base'].tolist()).hex()}"
            raise BadConfiguration(
                f"the checkpoint was trained from {other} and spec.model.initFrom is {self.base.digest} by now: name "
                "the base by its digest, or set a new runId"
            )
        if learner.frozen:
            self.begin()
        learner.load_trained(state["model"])
        set_optimizer_state_dict(learner.model, learner.optimizer, state["optimizer"])
        learner.ema.load_state_dict(state["ema"])
        self.loss = float(state["loss"])
        self.stream = StreamState.from_numbers(state["stream"].tolist())
        self.step = step
        # The learning rate is a function of the step, so it is set, not restored.
        schedule.last_epoch = step
        rates = [base * share(step) for base, share in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]
        for param_group, rate in zip(learner.optimizer.param_groups, rates, strict=True):
            param_group["lr"] = rate


def _piece_limit(
    config: RunConfig, model_config: ModelConfig, steps: Steps, group: Group, *, fine_tuning: bool
) -> PieceLimit:
    """The micro-batch that fits into memory. Raises `BadConfiguration` where nothing does."""
    optimization = config.optimization
    limit = require_memory(
        model_config,
        optimization.batch_tokens,
        group,
        steps.largest,
        options=learner_options(optimization, group.device),
        lora=optimization.lora,
        fine_tuning=fine_tuning,
        most=optimization.micro_batch_tokens,
    )
    return limit.halved(config.memory_failures)


def fit(state: TrainState, group: Group, lease: Lease, after_step: Callable[[], None]) -> None:
    """Train to the last step or until the group agrees to stop; `after_step` is called between steps."""

    def keep(module: DenoiserModule) -> None:
        assert module.done is not None
        state.step, state.stream, state.tokens = module.done.number + 1, module.done.after, module.done.tokens
        state.loss = module.global_loss
        state.level_losses = module.level_losses
        state.step_seconds, state.stopping = module.step_seconds, module.stopping
        after_step()

    module = DenoiserModule(state.learner, group, lease, keep, state.skipped)
    shares = Shares(state.steps, state.step, state.total, state.stream, group, state.feed, state.limit)
    if len(shares):
        _trainer(group).fit(module, DataLoader(shares, batch_size=None))


def objective_of(
    config: RunConfig, model_config: ModelConfig, data: RunData, device: torch.device | str
) -> TrainingObjective:
    """What a run learns on the samples of its data; its batches are made on this device."""
    return TrainingObjective(
        model_config,
        TextEncoder(device=device),
        data.source,
        config.optimization.seed,
        tasks=task_mix_of(config),
        rich_captions=data.rich_captions,
        device=device,
    )


def start_data_workers(
    config: RunConfig, access: DatasetAccess | None = None, base: Base | None = None
) -> DataWorkers | None:
    """The processes that make batches ahead, as many as the run wants; None where batches are made when needed."""
    count = config.optimization.data_workers
    if count is None:
        count = _usual_data_workers() if torch.cuda.is_available() else 0
    return DataWorkers(partial(_objective_alone, config, access, base), count) if count else None


def _usual_data_workers() -> int:
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(_MOST_DATA_WORKERS, cores // 2))


def _objective_alone(config: RunConfig, access: DatasetAccess | None, base: Base | None) -> TrainingObjective:
    model_config = model_config_of(config, base.config() if base else None)
    return objective_of(config, model_config, data_of(config, model_config, access), "cpu")


def learner_options(chosen: Optimization, device: torch.device) -> LearnerOptions:
    """How a run computes on this device. Raises `ConfigError` for options that exclude each other."""
    return LearnerOptions(
        precision_for(chosen.precision, device),
        chosen.compile,
        chosen.activation_checkpointing,
        chosen.ema_decay,
        chosen.gradient_clip,
    )


def digest_bytes(digest: str) -> Tensor:
    """(32,) uint8: a digest as a checkpoint holds it."""
    return torch.tensor(list(bytes.fromhex(digest.removeprefix("sha256:"))), dtype=torch.uint8)


def lora_config(chosen: Optimization) -> LoraConfig | None:
    """The adapters of a run; None: all weights are trained. Raises `ConfigError`."""
    return LoraConfig(chosen.lora.rank, chosen.lora.scale, chosen.lora.targets) if chosen.lora else None


def steps_of(config: RunConfig, source: Source, model: ModelConfig) -> Steps:
    """The run's steps. Raises `BadConfiguration` where a step is too small for a clip."""
    try:
        return Steps(source, model, config.optimization.batch_tokens)
    except ModelError as error:
        raise BadConfiguration(f"optimization.batchTokens: {error}") from None


def _trainer(group: Group) -> Trainer:
    gpu = group.device.type == "cuda"
    return Trainer(
        accelerator="gpu" if gpu else "cpu",
        devices=group.local_world_size,
        # Lightning would keep the number of nodes of the first round; the world size is what the rendezvous says.
        num_nodes=group.world_size // group.local_world_size,
        strategy=DDPStrategy(
            cluster_environment=TorchElasticEnvironment(),
            process_group_backend="nccl" if gpu else "gloo",
            timeout=timedelta(seconds=group.patience),
        ),
        max_epochs=1,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
    )
