"""Clips that a training makes of itself, by the code that makes the clips of requests.

Rank 0 writes the averaged weights as they will be published and renders from that folder, while the others wait. What
goes wrong with them is logged, and training goes on: they are for looking at.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from kinema_api import layout
from kinema_api.clip import ClipRequest
from kinema_api.run import RunConfig
from kinema_jobs.clip.expansion import ExpansionSettings
from kinema_jobs.clip.loading import open_model
from kinema_jobs.clip.make import InputFiles, Stage, make_clip, resolve
from kinema_jobs.train.export import write_model
from kinema_jobs.train.train_state import TrainState

LONGEST_SECONDS: Final = 240.0
"""The other ranks wait at most as long as they wait for an object store."""
_UPLOADED: Final = (layout.VIDEO, layout.THUMBNAIL, layout.REQUEST)

logger = logging.getLogger(__name__)


class _Patience:
    """Stops a clip when the time for all clips of a step is over."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def stage(self, stage: Stage) -> None:
        """Nothing follows it."""

    def step(self, done: int, total: int) -> None:
        """Nothing follows it."""

    def stopped(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self._until


def make_samples(
    config: RunConfig, fitting: TrainState, scratch: Path, upload: Callable[[str, Path], object]
) -> list[str]:
    """Prefixes of the clips that were made after this step, one for each prompt; called by rank 0 alone.

    `upload` puts the files of a folder below a prefix. Whatever fails ends in a line of the log.
    """
    wanted = config.optimization.samples
    assert wanted is not None
    made: list[str] = []
    folder = scratch / "samples"
    try:
        write_model(folder / "model", fitting, "# A model in training\n")
        model, patience = open_model(folder / "model"), _Patience(LONGEST_SECONDS)
        for number, prompt in enumerate(wanted.prompts):
            request = asyncio.run(resolve(ClipRequest(prompt=prompt, seed=number), model, ExpansionSettings()))
            about = {"training": f"{config.namespace}/{config.name}", "step": fitting.step, "reviewed": False}
            files = folder / str(number)
            files.mkdir()
            make_clip(model, request, InputFiles(), files, patience, about)
            for file in files.iterdir():
                if file.name not in _UPLOADED:
                    file.unlink()
            prefix = layout.sample_prefix(config.prefix, fitting.step, number)
            upload(prefix, files)
            made.append(prefix)
    except Exception:  # a clip to look at must never end a training, whatever the reason
        logger.warning("no more samples after step %d", fitting.step, exc_info=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        # The pipeline and its weights go before the next step needs the memory.
        gc.collect()
    logger.info("step %d: %d samples below %ssamples/", fitting.step, len(made), config.prefix)
    return made
