"""The finished model below export/round-NNNN/, for the control plane to check and copy."""

from __future__ import annotations

import shutil
from pathlib import Path

from kinema_api import layout
from kinema_api.run import RunConfig
from kinema_jobs.train.checkpoint import Checkpoints
from kinema_jobs.train.train_state import TrainState
from kinema_model.artefact import save_model
from kinema_model.text.encoder import MAX_TOKENS
from kinema_model.text.reading import LANGUAGES, vocabulary, write_vocabulary


def export(config: RunConfig, round_: int, fitting: TrainState, checkpoints: Checkpoints, scratch: Path) -> None:
    """Commit the averaged weights, written below the round's own folder; called by rank 0 alone.

    Raises as `Checkpoints.commit_export` does.
    """
    folder = scratch / "export"
    shutil.rmtree(folder, ignore_errors=True)
    words = vocabulary(fitting.source.texts())
    about = card(config, fitting.loss, fitting.validation_loss(), fitting.source.digest, words)
    save_model(folder, fitting.learner.ema.shadow, fitting.model_config, about, fitting.source.files())
    write_vocabulary(folder, words)
    prefix = layout.export_prefix(config.prefix, round_)
    files = checkpoints.upload(prefix, folder)
    checkpoints.commit_export(prefix, checkpoints.manifest("model", fitting.step, fitting.stream.taken, files))


def card(config: RunConfig, loss: float, validation: float, digest: str, words: tuple[str, ...] = ()) -> str:
    """The model card as Markdown; `digest` is that of its training data."""
    optimization, world = config.optimization, config.data.world
    scenes = ", ".join(f"{name} {weight:g}" for name, weight in world.scenes.weights().items() if weight)
    return f"""# {config.name}

A video diffusion model of the preset `{config.model.preset}`, trained by Kinema.

| | |
|---|---|
| training | {config.namespace}/{config.name}, run {config.run}, attempt {config.attempt} |
| data | synthetic world, seed {world.seed}; scenes by weight: {scenes} |
| digest of the data | {digest}: models of one digest were shown the same clips |
| captions | rich for a share of {world.rich_captions:g}, short for the rest |
| languages | {", ".join(LANGUAGES)}: the text encoder knows no other ones, whatever a prompt is written in |
| longest prompt | {MAX_TOKENS} tokens; what follows is not heard |
| words | {len(words)} occur in its captions: {", ".join(words)} |
| optimizer steps | {optimization.steps} of {optimization.batch_tokens} latent tokens |
| learning rate | {optimization.learning_rate:g}, seed {optimization.seed} |
| loss of the last step | {loss:.4f} |
| validation loss | {validation:.4f}: the same clips, noise and levels in every run of this world and clip shape |

The weights are the exponential average of the trained ones. The model draws what its data showed, nothing else.
"""
