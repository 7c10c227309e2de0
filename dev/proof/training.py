"""The one training of the proof: so many seconds by the clock, in as many calls as it takes, exactly as in one.

The clock counts whole steps, including their waiting for data, but not the making of the network, compilation and
snapshots. The learning rate depends on the share of the seconds that have passed, since the number of steps is not
known before. A killed call loses weights and clock since the last snapshot.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from bench import device
from kinema_model.artefact import save_model
from kinema_model.errors import ConfigError
from kinema_model.packing.planning import StreamState
from kinema_model.precision import precision_for
from kinema_model.training.learner import DenoiserLearner
from kinema_model.training.optimizer import learning_rate_share
from kinema_model.training.options import LearnerOptions
from kinema_world.stored import world_files
from proof.folder import Folder
from proof.settings import POINTS, Settings
from proof.supply import Inline, Supply, supply_of
from stage.slices import Slice

SNAPSHOT_SECONDS: Final = 60.0
# Synchronise with the device after this many steps, so that the clock stays correct.
_TOGETHER: Final = 10
# Batches in a row that compile nothing, after which the blocks know what varies; and most batches of the warm-up.
_CALM: Final = 3
_MOST_WARM_UP: Final = 16
# Samples of the warm-up, which training never comes to.
_ELSEWHERE: Final = 1 << 39
_MILLISECONDS: Final = 1000


@dataclass
class Progress:
    """How far training is: optimiser steps, seconds by its clock, those of them spent waiting, and tokens seen."""

    step: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    tokens: int = 0
    loss: float = 0.0
    """Mean of the last steps."""
    recompiles: int = 0
    peak_memory_gib: float = 0.0
    stream: list[int] = field(default_factory=StreamState().to_numbers)
    points: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of each compute point the step and the seconds at which it was kept."""


def rate_share(seconds: float, total: float) -> float:
    """Share of the full learning rate after so many of the training's seconds: warm-up, then half a cosine to zero."""
    return learning_rate_share(round(seconds * _MILLISECONDS), round(total * _MILLISECONDS))


def points_due(progress: Progress, total: float) -> list[str]:
    """Compute points whose share of the seconds is gone and which are not kept yet."""
    return [name for name, share in POINTS.items() if progress.seconds >= share * total and name not in progress.points]


class Trainer:
    """Trains within slices; `clock` tells seconds."""

    def __init__(
        self,
        settings: Settings,
        folder: Folder,
        supply: Callable[[Settings, int, StreamState], Supply] = supply_of,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.progress = Progress()
        self._settings, self._folder, self._clock = settings, folder, clock
        self._device = torch.device(settings.device)
        torch.manual_seed(settings.seed)
        options = LearnerOptions(precision_for("auto", self._device), settings.compiled)
        self._learner = DenoiserLearner.build(
            settings.config, options, learning_rate=settings.rate, steps=1, device=self._device
        )
        self.model, self.ema = self._learner.model, self._learner.ema
        self._make_supply = supply
        self._losses: list[torch.Tensor] = []
        stored = folder.training(self._device)
        if stored is not None:
            self._take_up(stored)

    @property
    def done(self) -> bool:
        """Whether all the seconds are gone."""
        return self.progress.seconds >= self._settings.seconds

    def run(self, slice_: Slice) -> None:
        """Train to the end.

        Raises `SliceOver`, before which all is kept, and `ConfigError` for a loss that is no number.
        """
        if self.done:
            return
        progress = self.progress
        if self._learner.compiled:
            self._warm_up()
        compiled, before = device.compilations(), progress.recompiles
        supply = self._make_supply(self._settings, progress.step, StreamState.from_numbers(progress.stream))
        kept = progress.seconds
        try:
            while not self.done:
                self._step(supply)
                progress.recompiles = before + device.compilations() - compiled
                due = points_due(progress, self._settings.seconds)
                if due or slice_.over or progress.seconds - kept >= SNAPSHOT_SECONDS:
                    self._keep(due)
                    kept = progress.seconds
                    slice_.check()
        finally:
            supply.close()

    def _step(self, supply: Supply) -> None:
        progress = self.progress
        begun, waited = self._clock(), supply.waited
        batch = supply.take()
        share = rate_share(progress.seconds, self._settings.seconds)
        for group in self._learner.optimizer.param_groups:
            group["lr"] = self._settings.rate * share
        self._losses.append(self._learner.learn([(batch.clean, batch.noise)]))
        progress.step += 1
        if progress.step % _TOGETHER == 0:
            self._look()
        progress.seconds += self._clock() - begun
        progress.waited += supply.waited - waited
        progress.tokens += sum(batch.clean.clips.lengths)
        progress.stream = batch.following.to_numbers()

    def _look(self) -> None:
        """Wait for the device and see whether the losses are numbers. Raises `ConfigError`."""
        device.wait()
        if not self._losses:
            return
        self.progress.loss = float(torch.stack(self._losses).mean())
        self._losses.clear()
        if not torch.isfinite(torch.tensor(self.progress.loss)):
            raise ConfigError(
                f"The loss is not a number near step {self.progress.step}. Lower PROOF_RATE and remove the work folder."
            )

    def _warm_up(self) -> None:
        """Compile the blocks on batches that training does not see; the weights stay as they are."""
        begun = time.perf_counter()
        elsewhere = Inline(self._settings, 0, StreamState(_ELSEWHERE))
        calm = 0
        for _ in range(_MOST_WARM_UP):
            before = device.compilations()
            batch = elsewhere.take()
            found = self._learner.loss(batch.clean, batch.noise)
            torch.autograd.backward(found.total)
            calm = calm + 1 if device.compilations() == before else 0
            if calm == _CALM:
                break
        self.model.zero_grad(set_to_none=True)
        device.wait()
        print(f"compiled in {time.perf_counter() - begun:.0f} s, which the training's clock does not count", flush=True)

    def _keep(self, due: list[str]) -> None:
        self._look()
        progress = self.progress
        progress.peak_memory_gib = max(progress.peak_memory_gib, round(device.peak_memory_gib(), 2))
        for name in due:
            self._folder.keep_point(name, partial(self._write_model, name))
            progress.points[name] = {"step": progress.step, "seconds": progress.seconds}
        self._folder.keep_training(
            {
                "progress": asdict(progress),
                "model": self.model.state_dict(),
                "optimizer": self._learner.optimizer.state_dict(),
                "ema": self.ema.state_dict(),
            }
        )
        print(
            f"training: {progress.seconds:.0f} of {self._settings.seconds:g} s, step {progress.step}, "
            f"loss {progress.loss:.4f}, {progress.tokens} tokens, {progress.waited:.1f} s waiting",
            flush=True,
        )

    def _write_model(self, name: str, folder: Path) -> None:
        progress = self.progress
        card = f"# Compute point {name}\n\n{progress.step} steps, {progress.seconds:.1f} s, {progress.tokens} tokens.\n"
        save_model(folder, self.ema.shadow, self._settings.config, card, world_files(self._settings.world))

    def _take_up(self, stored: dict[str, Any]) -> None:
        self.progress = Progress(**stored["progress"])
        self.model.load_state_dict(stored["model"])
        self._learner.optimizer.load_state_dict(stored["optimizer"])
        self.ema.load_state_dict(stored["ema"])
