"""`python -m kinema_jobs.train.plan FILE [--base FOLDER]`: memory that a training takes, as one JSON object.

{"parameters","trained","clipTokens","stepTokens","rows":[{"means","state","clip","step","chosen"}]}: bytes on each of
the file's nodes, with one worker on each, by means to save memory. An invalid file ends with {"error"} and exit code 2.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from kinema_api import launch
from kinema_api.finetune import Lora
from kinema_api.training import VideoModelTraining
from kinema_api.training_memory import Means, training_memory
from kinema_api.wire import EXIT_CODES
from kinema_jobs.local.run import read_training
from kinema_jobs.train.failures import BadConfiguration
from kinema_jobs.train.shape import model_config_of
from kinema_model.config import MODEL_FILE, ModelConfig
from kinema_model.errors import ModelError


def memory_plan(training: VideoModelTraining, base: ModelConfig | None) -> dict[str, Any]:
    """What `main` prints. Raises ModelError where the spec does not fit the base."""
    model = model_config_of(launch.run_config(training, 1, 1, None), base)
    chosen = training.spec.optimization
    clip = model.tokens_per_clip
    step = max(clip, -(-chosen.batch_tokens // training.spec.nodes))
    own = Means(chosen.lora, chosen.activation_checkpointing != "none", chosen.precision == "bfloat16")
    loras = (None, own.lora or Lora()) if base else (None,)
    rows = []
    for means in dict.fromkeys(
        Means(lora, recompute, half) for lora in loras for recompute in (False, True) for half in (False, True)
    ):
        need = training_memory(model.network.to_diffusers(), means)
        sizes = {"state": need.state, "clip": need.step(clip), "step": need.step(step)}
        rows.append({"means": str(means), **sizes, "chosen": means == own})
    need = training_memory(model.network.to_diffusers(), own)
    counts = {"parameters": need.trained + need.frozen, "trained": need.trained}
    return {**counts, "clipTokens": clip, "stepTokens": step, "rows": rows}


def _config_of(training: VideoModelTraining, base: Path | None) -> ModelConfig | None:
    if base is None and training.spec.model.init_from:
        raise BadConfiguration("the training begins with a model: give its folder with --base")
    return ModelConfig.from_file(base / MODEL_FILE) if base else None


@click.command(help=__doc__)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--base", type=click.Path(path_type=Path), help="Folder of the model that model.initFrom names.")
def _command(file: Path, base: Path | None) -> int:
    try:
        training = read_training(file, None)
        print(json.dumps(memory_plan(training, _config_of(training, base))))
    except (BadConfiguration, ModelError) as error:
        print(json.dumps({"error": str(error)}))
        return EXIT_CODES["user_error"]
    return 0


if __name__ == "__main__":
    sys.exit(_command(standalone_mode=False))
