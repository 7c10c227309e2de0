"""make bench NAME=step: a training step and a denoising step of the packed network against diffusers' own.

Both are Wan's transformer of width 1536, feed-forward 8960 and 12 heads over the very same weights in memory; only
depth and the number of tokens scale. Two sets of clips hold equally many tokens: `equal`, four clips of one shape,
and `mixed`, the clips of one step that the planner fills exactly from a mix of shapes. diffusers gets each shape as a
batch of its own, without padding, on its fastest attention backend; ours gets one pack. Where there is a compiler, the
blocks of both are compiled, ours but for attention, which sees other lengths in every pack; compile time is left out
for both. No quantisation, no caching.

Training is forward and backward of a squared error against random targets, with packing and patching counted for ours;
denoising is a forward pass without gradient, all clips at one level. Runs of the two take turns. Outputs and
gradients are compared first, and the bench fails where they differ by more than noise of the dtype.

Figures are medians: theirs over ours. `padding_waste` is filler and rounding of the planner over 200 steps of the mix
at this number of tokens; `mfu` is FLOPs by `kinema_model.network.flops` over the device's dense bf16 peak.

Environment: KINEMA_BENCH_DEPTH (2 on a CPU, 8 on a GPU), KINEMA_BENCH_TOKENS (4096, 32768; a multiple of 1024),
KINEMA_BENCH_ROUNDS (3, 10), KINEMA_BENCH_COMPILE (1), KINEMA_BENCH_DTYPE (float32, bfloat16).
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.device import DEVICE, GPU, published_peak, wait
from bench.shapes import WORLD_GRID, mix
from bench.waste import measure_waste
from kinema_model.network.compiling import compile_blocks, has_compiler
from kinema_model.network.config import PUBLISHED
from kinema_model.network.flops import forward_flops, training_flops
from kinema_model.network.pack import Box
from kinema_model.packing.planning import StepPlanner, StreamState, tokens_of
from kinema_model.rng import RngStream, generator
from kinema_world import SceneKind
from kinema_world.scene import ClipShape
from stage.measure import machine, result
from stage.wan import Clips, Ours, Theirs, in_order, make_clips, pair

DEPTH = int(os.environ.get("KINEMA_BENCH_DEPTH", "8" if GPU else "2"))
TOKENS = int(os.environ.get("KINEMA_BENCH_TOKENS", "32768" if GPU else "4096"))
ROUNDS = int(os.environ.get("KINEMA_BENCH_ROUNDS", "10" if GPU else "3"))
COMPILE = os.environ.get("KINEMA_BENCH_COMPILE", "1") == "1"
DTYPE = getattr(torch, os.environ.get("KINEMA_BENCH_DTYPE", "bfloat16" if GPU else "float32"))
CONFIG = PUBLISHED["wan2.1-t2v-1.3b"].model_copy(update={"num_layers": DEPTH})
# Wan's pipeline gives every prompt as so many states.
TEXT = 512
EQUAL_CLIPS = 4
LEVEL = 0.6
# Largest relative error of outputs and of gradients, in the norm.
NOISE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
BACKENDS = ("_flash_3", "flash", "_native_cudnn", "_native_flash", "native") if GPU else ("native",)


def shape_of(sample: int) -> ClipShape:
    """The shape that a scene of any kind draws."""
    draw = generator(RngStream.WORLD_PLAN, 0, sample)
    kinds = [kind for kind in SceneKind if mix(TOKENS).rhythms(kind)]
    return mix(TOKENS).draw(draw, kinds[int(draw.integers(len(kinds)))])


def mixed_boxes() -> list[Box]:
    """Clips of the first step that holds exactly the budget."""
    planner = StepPlanner(lambda sample: tokens_of(WORLD_GRID, shape_of(sample)), TOKENS)
    state = StreamState()
    while True:
        samples, state = planner.plan(state)
        shapes = [shape_of(sample) for sample in samples]
        boxes = [(shape.frames, shape.height // 8, shape.width // 8) for shape in shapes]
        if sum(map(math.prod, boxes)) == TOKENS:
            return boxes


@dataclass(frozen=True)
class Case:
    """One kind of step over one set, as each of the two does it."""

    name: str
    clips: Clips
    ours: Callable[[], list[Tensor] | None]
    theirs: Callable[[], list[Tensor] | None]
    grad: bool

    @property
    def flops(self) -> int:
        """FLOPs of one step."""
        clips, texts = [math.prod(box) for box in self.clips.boxes], [TEXT] * len(self.clips.boxes)
        return training_flops(CONFIG, clips, texts, len(clips)) if self.grad else forward_flops(CONFIG, clips, texts)


def make_cases(ours: Ours, theirs: Theirs, sets: list[Clips]) -> list[Case]:
    """Training and denoising of every set."""
    cases = []
    for clips in sets:
        train = (lambda clips=clips: ours.train(clips)), theirs.trainer(clips)
        cases.append(Case(f"train {clips.name}", clips, *train, grad=True))
        cases.append(
            Case(f"denoise {clips.name}", clips, ours.denoiser(clips, LEVEL), theirs.denoiser(clips, LEVEL), grad=False)
        )
    return cases


def timed(call: Callable[[], object], network: Any, *, grad: bool) -> float:
    """Seconds of one step; gradients of the step before are dropped first."""
    network.zero_grad(set_to_none=True)
    wait()
    begun = time.perf_counter()
    with torch.set_grad_enabled(grad):
        call()
    wait()
    return time.perf_counter() - begun


def choose_backend(theirs: Theirs, cases: list[Case]) -> str:
    """Their fastest attention that this machine has; measured on the equal set, before compilation."""
    seconds: dict[str, float] = {}
    for name in BACKENDS if len(BACKENDS) > 1 else ():
        try:
            theirs.network.set_attention_backend(name)
            runs = [sum(timed(case.theirs, theirs.network, grad=case.grad) for case in cases[:2]) for _ in range(3)]
        except (RuntimeError, ValueError, ImportError) as error:
            print(f"attention {name}: not here ({str(error).splitlines()[0]})", flush=True)
        else:
            seconds[name] = min(runs)
            print(f"attention {name}: {seconds[name]:.3f} s", flush=True)
    best = min(seconds, key=lambda name: seconds[name], default=BACKENDS[0])
    theirs.network.set_attention_backend(best)
    return best


def compile_both(ours: Ours, theirs: Theirs) -> bool:
    """Compile the blocks of both where there is a compiler."""
    if not COMPILE or not has_compiler(DEVICE):
        return False
    theirs.network.compile_repeated_blocks()
    compile_blocks(ours.network)
    return True


def differences(ours: Ours, cases: list[Case]) -> tuple[float, float]:
    """Largest relative difference, in the norm, of outputs and of gradients; also warms everything up."""
    outputs: list[float] = []
    gradients: list[float] = []
    for case in cases:
        said: list[list[Tensor]] = []
        for call in (case.ours, case.theirs):
            begun = time.perf_counter()
            ours.network.zero_grad(set_to_none=True)
            with torch.set_grad_enabled(case.grad):
                out = call()
            gradient = [p.grad.clone() for p in ours.network.parameters() if p.grad is not None]
            said.append(gradient if out is None else out)
            print(f"{case.name}: first run in {time.perf_counter() - begun:.1f} s", flush=True)
        if not case.grad:
            said[1] = in_order(said[1], case.clips)
        (gradients if case.grad else outputs).append(difference(*said))
    return max(outputs), max(gradients)


def difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Norm of the difference over the norm."""
    apart = sum(float((a.double() - b.double()).square().sum()) for a, b in zip(ours, theirs, strict=True))
    return math.sqrt(apart / sum(float(b.double().square().sum()) for b in theirs))


def measure(ours: Ours, cases: list[Case]) -> dict[str, dict[str, list[float]]]:
    """Seconds of every run of either; they take turns, and who goes first alternates."""
    seconds = {case.name: {"ours": list[float](), "theirs": list[float]()} for case in cases}
    for number in range(ROUNDS):
        for case in cases:
            order = [("ours", case.ours), ("theirs", case.theirs)]
            for name, call in order[:: 1 if number % 2 == 0 else -1]:
                # Parameters are one and the same, so either network drops the gradients of both.
                seconds[case.name][name].append(timed(call, ours.network, grad=case.grad))
    return seconds


def spread(seconds: list[float]) -> str:
    """Median, least and most, in words."""
    return f"{median(seconds):.3f} s ({min(seconds):.3f} to {max(seconds):.3f})"


def report(cases: list[Case], seconds: dict[str, dict[str, list[float]]]) -> dict[str, object]:
    """Speed-ups with their spread, and on a known GPU the utilisation of ours."""
    figures: dict[str, object] = {}
    for case in cases:
        mine, other = seconds[case.name]["ours"], seconds[case.name]["theirs"]
        kind, name = case.name.split()
        key = f"{kind}_speedup" + ("_mixed" if name == "mixed" else "")
        ratios = [b / a for a, b in zip(mine, other, strict=True)]
        figures[key] = round(median(other) / median(mine), 3)
        figures[f"{key}_spread"] = [round(min(ratios), 3), round(max(ratios), 3)]
        rate = case.flops / median(mine)
        if (most := published_peak(DTYPE)) is not None:
            figures[key.replace("speedup", "mfu")] = round(rate / most, 3)
        print(
            f"{case.name}: ours {spread(mine)}, theirs {spread(other)}, ours at {rate / 1e12:.3f} TFLOP/s",
            flush=True,
        )
    return figures


def main() -> int:
    """Compare, measure and print."""
    if TOKENS % (EQUAL_CLIPS * 256) or TOKENS < EQUAL_CLIPS * 256:
        print(f"KINEMA_BENCH_TOKENS is {TOKENS}. Give a multiple of {EQUAL_CLIPS * 256}.", file=sys.stderr)
        return 2
    ours, theirs = pair(CONFIG, DTYPE, DEVICE)
    equal = [(TOKENS // (EQUAL_CLIPS * 256), 16, 16)] * EQUAL_CLIPS
    named = {"equal": equal, "mixed": mixed_boxes()}
    sets = [make_clips(name, CONFIG, boxes, TEXT, DTYPE, DEVICE) for name, boxes in named.items()]
    print(f"depth {DEPTH}, {TOKENS} tokens, {DTYPE}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for clips in sets:
        print(f"{clips.name}: {len(clips.boxes)} clips of {len(clips.groups)} shapes: {clips.boxes}", flush=True)
    cases = make_cases(ours, theirs, sets)
    backend = choose_backend(theirs, cases)
    compiled = compile_both(ours, theirs)
    outputs, gradients = differences(ours, cases)
    print(f"outputs differ by {outputs:.1e}, gradients by {gradients:.1e}", flush=True)
    figures = report(cases, measure(ours, cases))
    waste = measure_waste(shape_of, float, WORLD_GRID, budget=TOKENS, ranks=1, steps=200)
    result(
        "step",
        samples=ROUNDS,
        machine=machine() + (f", {torch.cuda.get_device_name()}" if GPU else ""),
        depth=DEPTH,
        tokens=TOKENS,
        dtype=str(DTYPE).removeprefix("torch."),
        compiled=compiled,
        their_attention=backend,
        **figures,
        padding_waste=round(waste.filler + waste.rounding, 5),
        output_difference=float(f"{outputs:.2g}"),
        gradient_difference=float(f"{gradients:.2g}"),
    )
    return int(max(outputs, gradients) > NOISE[DTYPE])


if __name__ == "__main__":
    sys.exit(main())
