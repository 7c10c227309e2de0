"""The finished model below export/round-NNNN/, for the control plane to check and copy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from kinema_api import layout
from kinema_api.run import RunConfig
from kinema_jobs.train.checkpoint import Checkpoints
from kinema_jobs.train.train_state import TrainState, lora_config
from kinema_model.adapters.folder import save_lora
from kinema_model.artefact import save_model
from kinema_model.text.encoder import MAX_TOKENS
from kinema_model.text.reading import LANGUAGES, write_vocabulary

MOST_WORDS: Final = 500
"""Most words of captions in a model's card; the file of its vocabulary has them all."""


def export(config: RunConfig, round_: int, fitting: TrainState, checkpoints: Checkpoints, scratch: Path) -> None:
    """Commit the averaged weights, written below the round's own folder; called by rank 0 alone.

    Raises as `Checkpoints.commit_export` does.
    """
    folder = scratch / "export"
    shutil.rmtree(folder, ignore_errors=True)
    loss, validation = fitting.loss, fitting.validation_loss()
    write_model(folder, fitting, card(config, loss, validation, fitting.source.digest, fitting.words))
    if (lora := lora_config(config.optimization)) and config.base:
        # Merged for every server, and alone for whoever has the base: diffusers and peft read the file.
        adapters = {"transformer": fitting.learner.averaged_adapters()}
        save_lora(folder, adapters, lora, config.base.digest)
    prefix = layout.export_prefix(config.prefix, round_)
    files = checkpoints.upload(prefix, folder)
    checkpoints.commit_export(prefix, checkpoints.manifest("model", fitting.step, fitting.stream.taken, files))


def write_model(folder: Path, fitting: TrainState, about: str) -> None:
    """Write the averaged weights and what a server reads beside them; `about` is the model card."""
    save_model(folder, fitting.learner.published_state(), fitting.model_config, about, fitting.source.files())
    write_vocabulary(folder, fitting.words)


def card(config: RunConfig, loss: float, validation: float, digest: str, words: tuple[str, ...] = ()) -> str:
    """The model card as Markdown; `digest` is that of its training data."""
    optimization = config.optimization
    return f"""# {config.name}

A video diffusion model of {_origin(config)}, trained by Kinema.

| | |
|---|---|
| training | {config.namespace}/{config.name}, run {config.run}, attempt {config.attempt} |
{_data_rows(config)}
| digest of the data | {digest}: models of one digest were shown the same clips |
| languages | {", ".join(LANGUAGES)}: the text encoder knows no other ones, whatever a prompt is written in |
| longest prompt | {MAX_TOKENS} tokens; what follows is not heard |
| words | {len(words)} occur in its captions{_first(words)} |
| optimizer steps | {optimization.steps} of {optimization.batch_tokens} latent tokens |
| learning rate | {config.learning_rate:g}, seed {optimization.seed} |
| loss of the last step | {loss:.4f} |
| validation loss | {validation:.4f}: the same clips, noise and levels in every run of this data and clip shape |

The weights are the exponential average of the trained ones. The model draws what its data showed, nothing else.
"""


def _first(words: tuple[str, ...]) -> str:
    more = ", ..." if len(words) > MOST_WORDS else ""
    return f": {', '.join(words[:MOST_WORDS])}{more}"


def _data_rows(config: RunConfig) -> str:
    """Rows of the card on the clips and their captions."""
    data, mixed = config.data, config.data.world is not None and bool(config.data.videos)
    rows = []
    if world := data.world:
        scenes = ", ".join(f"{name} {weight:g}" for name, weight in world.scenes.weights().items() if weight)
        share = f", weight {world.weight:g}" if mixed else ""
        rows.append(f"| data | synthetic world, seed {world.seed}{share}; scenes by weight: {scenes} |")
        rows.append(_captions("captions", world.rich_captions))
    for clips, dataset in zip(data.videos, config.datasets, strict=True):
        rows.append(f"| data | recorded clips of {clips.uri}, weight {clips.weight:g}: dataset {dataset.digest} |")
    if data.videos:
        rows.append(_captions("captions of recorded clips", data.rich_captions))
        shown = f"the model's own for a share of {data.own_size:g}, the clip's own for the rest"
        rows.append(f"| sizes of recorded clips | {shown} |")
    return "\n".join(rows)


def _captions(name: str, rich: float) -> str:
    return f"| {name} | rich for a share of {rich:g}, short for the rest |"


def _origin(config: RunConfig) -> str:
    if config.base is None:
        return f"the preset `{config.model.preset}`"
    lora = config.optimization.lora
    how = f", by adapters of rank {lora.rank} that are merged into its weights" if lora else ""
    return f"the base `{config.base.digest}`{how}"
