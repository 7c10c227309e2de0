"""make bench NAME=demo_model: the model of the demo, trained as its sample says, and marks of the clips it draws.

One process with one thread takes the steps that the sample's nodes share. Seconds are of the process, so a busy machine
does not change them; two nodes take half of them each. Marks (`bench.clip_marks`) are of clips drawn for the captions
of scenes under a seed that no training has, for captions that it had and for others, with the default steps and
guidance. `edge_jumps` is how much neighbouring pixels of two patches differ, over those of one patch, as a multiple of
the same in true clips of these scenes. `edge_error` compares true clips, to which noise of level KINEMA_BENCH_LEVEL is
added and which are denoised again, with the truth: the error beside edges of patches over that elsewhere, as a multiple
of the same for a blur.

Environment: KINEMA_BENCH_STEPS (those of the sample), KINEMA_BENCH_CLIPS (128), KINEMA_BENCH_LEVEL (0.6),
KINEMA_BENCH_MODEL (a model folder that is marked as it is, without training), KINEMA_BENCH_OUT (where the model is
kept).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.clip_marks import blurred, edge_error, edge_jumps, marks, stilled
from kinema_model.artefact import save_model
from kinema_model.codec.codec import pixels
from kinema_model.conditions.task_inputs import TaskInputs
from kinema_model.conditions.tasks import Task
from kinema_model.config import ModelConfig
from kinema_model.packing.planning import StreamState
from kinema_model.packing.steps import Steps
from kinema_model.pipeline import Pipeline
from kinema_model.text.encoder import TextEncoder
from kinema_model.training.learner import DenoiserLearner
from kinema_model.training.objective import TrainingObjective
from kinema_model.training.options import LearnerOptions
from kinema_world import Scene, SceneKind, ShapeMix, Video, World, WorldConfig
from kinema_world.source import WorldSource
from kinema_world.splits import Split
from stage.measure import machine, result

SAMPLE = Path(__file__).resolve().parents[2] / "manifests" / "samples" / "training.yaml"
CLIPS = int(os.environ.get("KINEMA_BENCH_CLIPS", "128"))
LEVEL = float(os.environ.get("KINEMA_BENCH_LEVEL", "0.6"))
_UNSEEN_SEED: Final = 2**40 + 3
_FIRST_NOISE: Final = 5_000_000
_AT_ONCE: Final = 32


@dataclass(frozen=True)
class Trained:
    """Seconds of the process for all steps, and of them those for batches."""

    seconds: float
    batches: float
    loss: float


def train(spec: dict[str, Any], folder: Path) -> Trained:
    """Train as a spec says, in this process, and save the averaged weights."""
    optimization = spec["optimization"]
    steps = int(os.environ.get("KINEMA_BENCH_STEPS", optimization["steps"]))
    torch.manual_seed(optimization["seed"])
    config = ModelConfig.from_preset(spec["model"]["preset"], **spec["model"].get("overrides", {}))
    source = WorldSource(simple_world(config, spec["data"]["world"]["seed"], "train"))
    objective = TrainingObjective(config, TextEncoder(), source, optimization["seed"])
    learner = DenoiserLearner.build(config, LearnerOptions(), learning_rate=optimization["learningRate"], steps=steps)
    begun, batches, losses = time.process_time(), 0.0, []
    for step in Steps(source, config, optimization["batchTokens"]).walk(0, steps, StreamState()):
        asked = time.process_time()
        batch = objective.batch(step.samples, step.number)
        batches += time.process_time() - asked
        losses.append(float(learner.learn([batch])))
        learner.schedule.step()
        if step.number % 50 == 49:
            print(f"step {step.number + 1}: loss {np.mean(losses[-50:]):.4f}", flush=True)
    seconds = time.process_time() - begun
    save_model(folder, learner.ema.shadow, config, "# bench", dict(source.files()))
    return Trained(seconds, batches, float(np.mean(losses[-50:])))


def simple_world(config: ModelConfig, seed: int, split: Split) -> World:
    """Simple scenes in the shape of the model's own clip."""
    shapes = ShapeMix.fixed(config.frames, config.height, config.width_px, config.fps)
    return World(WorldConfig(seed=seed, split=split, kinds={SceneKind.SIMPLE: 1.0}, shapes=shapes))


def unseen(config: ModelConfig, count: int, split: Split = "train") -> list[Scene]:
    """Scenes under a seed that no training has."""
    world = simple_world(config, _UNSEEN_SEED, split)
    return [world.scene(index) for index in range(count)]


def true_clips(scenes: Sequence[Scene]) -> Video:
    """uint8 (B, T, H, W, 3) of scenes of one shape."""
    from kinema_world.drawing import draw_many

    return np.stack([clip.numpy() for clip in draw_many(scenes)])


def drawn(pipeline: Pipeline, scenes: Sequence[Scene]) -> Video:
    """uint8 (B, T, H, W, 3): a clip for each caption."""
    clips = []
    for first in range(0, len(scenes), _AT_ONCE):
        part = scenes[first : first + _AT_ONCE]
        seeds = range(_FIRST_NOISE + first, _FIRST_NOISE + first + len(part))
        clips.append(pipeline.generate_batch([scene.captions.short for scene in part], list(seeds)))
    return np.concatenate(clips)


def denoised(pipeline: Pipeline, scenes: Sequence[Scene], truth: Video) -> Video:
    """True clips with noise of the level, denoised again: uint8 (B, T, H, W, 3)."""
    made = [
        pipeline.complete(
            Task.EDIT, scene.captions.short, _FIRST_NOISE + number, TaskInputs(source=pixels(clip)), LEVEL
        ).video
        for number, (scene, clip) in enumerate(zip(scenes, truth, strict=True))
    ]
    return np.stack(made)


def marked(folder: Path) -> dict[str, Any]:
    """Marks of a model folder, of true clips and of controls."""
    pipeline = Pipeline(folder)
    scenes = unseen(pipeline.config, CLIPS)
    truth = true_clips(scenes)
    begun = time.process_time()
    clips = drawn(pipeline, scenes)
    seconds = (time.process_time() - begun) / CLIPS
    held_out = unseen(pipeline.config, CLIPS // 4, "held-out")
    few = truth[: CLIPS // 4]
    cell = pipeline.config.grid.cell[1:]
    errors = edge_error(denoised(pipeline, scenes[: len(few)], few), few, cell) / edge_error(blurred(few), few, cell)
    return {
        **marks(scenes, clips).figures(),
        "held_out_captions": marks(held_out, drawn(pipeline, held_out)).figures(),
        "edge_error": round(errors, 3),
        "edge_jumps": round(edge_jumps(clips, cell) / edge_jumps(truth, cell), 3),
        "seconds_a_clip": round(seconds, 3),
        "true_clips": marks(scenes, truth).figures(),
        "still_clips": marks(scenes, stilled(truth)).figures(),
    }


def main() -> int:
    """Train, mark and print."""
    torch.set_num_threads(1)
    spec = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))["spec"]
    with TemporaryDirectory() as scratch:
        folder = Path(os.environ.get("KINEMA_BENCH_MODEL", os.environ.get("KINEMA_BENCH_OUT", scratch)))
        figures: dict[str, Any] = {}
        if "KINEMA_BENCH_MODEL" not in os.environ:
            trained = train(spec, folder)
            figures = {
                "stepping_cpu_seconds": round(trained.seconds, 1),
                "batches_cpu_seconds": round(trained.batches, 1),
                "loss": round(trained.loss, 4),
            }
        figures |= marked(folder)
    result("demo_model", samples=CLIPS, machine=machine(), **figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
