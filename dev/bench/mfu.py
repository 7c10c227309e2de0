"""make bench NAME=mfu: how much of the device's peak a whole training step of the 1.3B network uses.

The network is Wan 2.1's of width 1536, feed-forward 8960 and 12 heads; on a GPU all its 30 layers. A step is all that
training does: planning and drawing of clips, captions, forward, backward, clipping, fused AdamW and the average of
weights, all state in float32 and products in bf16 on a GPU. `mixed` are successive steps of the planner from the
world's mix of shapes; `1x` and `4x` are one clip and four equal clips of as many tokens, of random latents, since the
world has no clip that long. A thread makes the next batch meanwhile (bench/mfu_training.py says how).

Warm-up lasts until two steps in a row compile nothing; then the median of the measured steps counts. `mfu` is FLOPs by
`kinema_model.network.flops` (true lengths of clips and captions, nothing that is computed again) per second, over the
device's dense bf16 peak from its data sheet. Where there is none, as on a CPU, the peak is the rate of a product of
2048 x 2048 matrices of this run and dtype, and the last line says so. Blocks are recomputed only if memory requires
it. `step_seconds` are median, least and most.

Environment: KINEMA_BENCH_DEPTH (2 on a CPU, 30 on a GPU), KINEMA_BENCH_TOKENS (2048, 32768; a multiple of 1024),
KINEMA_BENCH_ROUNDS (3, 20), KINEMA_BENCH_COMPILE (0, 1), KINEMA_BENCH_DTYPE (float32, bfloat16).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import device
from bench.device import DEVICE, GPU
from bench.mfu_training import Batch, Feed, Training, fitted, model_config
from bench.shapes import mix
from kinema_model.network.config import PUBLISHED
from kinema_model.network.pack import Box
from kinema_world import World, WorldConfig
from stage.measure import machine, result
from stage.prefetch import Prefetch

DEPTH = int(os.environ.get("KINEMA_BENCH_DEPTH", "30" if GPU else "2"))
TOKENS = int(os.environ.get("KINEMA_BENCH_TOKENS", "32768" if GPU else "2048"))
ROUNDS = int(os.environ.get("KINEMA_BENCH_ROUNDS", "20" if GPU else "3"))
COMPILE = os.environ.get("KINEMA_BENCH_COMPILE", "1" if GPU else "0") == "1"
DTYPE = getattr(torch, os.environ.get("KINEMA_BENCH_DTYPE", "bfloat16" if GPU else "float32"))
NETWORK = "wan2.1-t2v-1.3b"
BAR = 0.45
LEAST_TOKENS = 1024
CALM = 2
MOST_WARM_UP = 24
EQUAL_CLIPS = 4


@dataclass(frozen=True)
class Measured:
    """Seconds and FLOPs of each measured step of one case, and other figures."""

    seconds: list[float]
    flops: list[int]
    tokens: list[int]
    waited: float
    recompiles: int
    recomputed: int
    peak_gib: float

    @property
    def rate(self) -> float:
        """FLOPs per second, the median of the steps."""
        return median(flops / seconds for flops, seconds in zip(self.flops, self.seconds, strict=True))


def box_of(tokens: int) -> Box:
    """A clip of so many tokens that is about as wide as high, in rows of 16 or 32 tokens."""
    side = 32 if tokens % 32**2 == 0 and tokens >= 8 * 32**2 else min(16, isqrt(tokens))
    return tokens // side**2, side, side


def cases(feed: Feed) -> dict[str, Callable[[], Batch]]:
    """How the batches of each case are made; the mixed one first."""
    one, four = [box_of(TOKENS)], [box_of(TOKENS // EQUAL_CLIPS)] * EQUAL_CLIPS
    return {"mixed": feed.mixed, "1x": lambda: feed.boxes(one), f"{EQUAL_CLIPS}x": lambda: feed.boxes(four)}


def timed(training: Training, coming: Prefetch[Batch]) -> tuple[float, Batch]:
    """Seconds of one whole step, from asking for its batch to its end on the device."""
    device.wait()
    begun = time.perf_counter()
    batch = coming.take()
    training.step(batch)
    device.wait()
    return time.perf_counter() - begun, batch


def warm_up(training: Training, coming: Prefetch[Batch]) -> int:
    """Step until nothing is compiled any more; how many steps that took."""
    calm = 0
    for number in range(MOST_WARM_UP):
        before = device.compilations()
        timed(training, coming)
        calm = calm + 1 if device.compilations() == before else 0
        if calm == CALM:
            return number + 1
    return MOST_WARM_UP


def measure(training: Training, make: Callable[[], Batch]) -> Measured:
    """Measure one case; repeated with more blocks recomputed if memory runs out."""
    found: list[Measured] = []
    fitted(training, lambda: found.append(observed(training, make)))
    return found[-1]


def observed(training: Training, make: Callable[[], Batch]) -> Measured:
    """Warm-up, then the steps that count."""
    device.forget_peak_memory()
    coming = Prefetch(make, DEVICE)
    try:
        warm_up(training, coming)
        compiled, coming.waited = device.compilations(), 0.0
        runs = [timed(training, coming) for _ in range(ROUNDS)]
    finally:
        coming.close()
    return Measured(
        [seconds for seconds, _ in runs],
        [batch.flops for _, batch in runs],
        [batch.tokens for _, batch in runs],
        coming.waited,
        device.compilations() - compiled,
        training.recomputed,
        device.peak_memory_gib(),
    )


def figures(found: dict[str, Measured], peak: float) -> dict[str, Any]:
    """Of every case, the mixed one under plain names."""
    shares: dict[str, Any] = {}
    for name, case in found.items():
        tail = "" if name == "mixed" else f"_{name}"
        shares[f"mfu{tail}"] = round(case.rate / peak, 4)
        shares[f"step_seconds{tail}"] = [round(f(case.seconds), 4) for f in (median, min, max)]
        shares[f"tokens{tail}"] = round(median(case.tokens))
        shares[f"tflops{tail}"] = round(median(case.flops) / 1e12, 3)
        shares[f"waiting{tail}"] = round(case.waited / sum(case.seconds), 4)
        shares[f"recomputed_layers{tail}"] = case.recomputed
        shares[f"peak_memory_gib{tail}"] = round(case.peak_gib, 2)
        print(
            f"{name}: {median(case.seconds):.3f} s a step ({min(case.seconds):.3f} to {max(case.seconds):.3f}), "
            f"{median(case.tokens):.0f} tokens, {case.rate / 1e12:.3f} TFLOP/s, {case.rate / peak:.1%} of the peak, "
            f"{case.waited / sum(case.seconds):.1%} waiting for data, {case.recompiles} compiled anew",
            flush=True,
        )
    return shares


def main() -> int:
    """Measure and print; 1 where a GPU misses the bar at full depth, or compiles after warm-up."""
    if TOKENS % LEAST_TOKENS or TOKENS < LEAST_TOKENS:
        print(f"KINEMA_BENCH_TOKENS is {TOKENS}. Give a multiple of {LEAST_TOKENS}.", file=sys.stderr)
        return 2
    config = model_config(PUBLISHED[NETWORK].model_copy(update={"num_layers": DEPTH}))
    training = Training(config, DTYPE, compiled=COMPILE)
    print(f"{device.name()}, depth {DEPTH}, {training.parameters / 1e6:.0f} M parameters, torch {torch.__version__}")
    feed = Feed(config, World(WorldConfig(shapes=mix(TOKENS))), TOKENS)
    found = {name: measure(training, make) for name, make in cases(feed).items()}
    return print_result(training, found)


def print_result(training: Training, found: dict[str, Measured]) -> int:
    """Print the last line; the exit code."""
    published = device.published_peak(DTYPE)
    peak = published or device.measured_peak(DTYPE)
    shares = figures(found, peak)
    recompiles = sum(case.recompiles for case in found.values())
    full = PUBLISHED[NETWORK].num_layers == DEPTH
    reached = shares["mfu"] >= BAR if published and full else None
    result(
        "mfu",
        samples=ROUNDS,
        machine=machine(),
        device=device.name(),
        depth=DEPTH,
        parameters=training.parameters,
        dtype=str(DTYPE).removeprefix("torch."),
        **shares,
        peak="published dense bf16" if published else "measured matmul",
        peak_tflops=round(peak / 1e12, 4),
        bar=BAR,
        reached=reached,
        kernel=device.kernel(DTYPE, PUBLISHED[NETWORK].attention_head_dim),
        compiled=training.compiled,
        recompiles_after_warm_up=recompiles,
    )
    return int(reached is False or (GPU and recompiles > 0))


if __name__ == "__main__":
    sys.exit(main())
