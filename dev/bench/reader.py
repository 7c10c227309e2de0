"""make bench NAME=reader: accuracy of the reader on true clips, for each kind of scene.

Every clip is read twice: as drawn, and soft (a Gaussian blur of 1 px, noise of 8 of 255). For each kind the share
read right of every attribute, and how many answers were wrong rather than missing.
Environment: KINEMA_BENCH_CLIPS (120) of each kind, KINEMA_BENCH_SIDES (32-128) in pixels, KINEMA_BENCH_SEED (177).
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kinema_world import SceneKind, ShapeMix, Video, World, WorldConfig
from kinema_world.reader import agreement, read
from stage.measure import machine, result

CLIPS = int(os.environ.get("KINEMA_BENCH_CLIPS", "120"))
LEAST, MOST = (int(side) for side in os.environ.get("KINEMA_BENCH_SIDES", "32-128").split("-"))
SEED = int(os.environ.get("KINEMA_BENCH_SEED", "177"))
REACH = 3


def softened(video: Video, seed: int) -> Video:
    """Blurred and noisy, as a model draws."""
    kernel = np.exp(-(np.arange(-REACH, REACH + 1) ** 2) / 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    soft = video.astype(np.float32)
    for axis in (1, 2):
        padded = np.pad(soft, [(REACH, REACH) if number == axis else (0, 0) for number in range(4)], mode="edge")
        soft = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=axis) @ kernel
    soft += np.random.default_rng(seed).normal(0, 8, soft.shape)
    return np.asarray(soft.clip(0, 255), dtype=np.uint8)


def measured(kind: SceneKind, *, soft: bool) -> dict[str, float]:
    """Accuracy by attribute, and `wrong`, the number of wrong answers."""
    world = World(WorldConfig(seed=SEED, split="all", kinds={kind: 1.0}, shapes=ShapeMix(sides=(LEAST, MOST))))
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    wrong = 0
    for index in range(CLIPS):
        clip = world.sample(index)
        reading = read(softened(clip.video, index) if soft else clip.video, clip.scene.shape.fps).facts
        found = dict(reading.items())
        for address, good in agreement(clip.scene.facts, reading).items():
            name = address.rsplit(".", 1)[-1]
            asked[name] += 1
            right[name] += good
            wrong += not good and found.get(address) is not None
    return {name: round(right[name] / asked[name], 4) for name in asked} | {"wrong": wrong}


def main() -> int:
    torch.set_num_threads(1)
    figures = {}
    for kind in SceneKind:
        for soft in (False, True):
            figures[f"{kind} {'soft' if soft else 'sharp'}"] = measured(kind, soft=soft)
            print(kind, "soft" if soft else "sharp", figures[f"{kind} {'soft' if soft else 'sharp'}"], flush=True)
    result("reader", samples=CLIPS, machine=machine(), sides=[LEAST, MOST], seed=SEED, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
