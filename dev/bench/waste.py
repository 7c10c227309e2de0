"""Overhead of packing: tokens that no clip fills, pixels that are cropped, ranks that wait."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from kinema_model.codec.grid import LatentGrid
from kinema_model.packing.planning import StepPlanner, StreamState, tokens_of
from kinema_model.packing.sharing import Load, share
from kinema_model.source import Shape


@dataclass(frozen=True)
class Waste:
    """Overhead of packing in a run, as shares.

    `filler`: of the budget, tokens that no clip used. `rounding`: of the clips' pixels, those beyond whole patches,
    which are cropped. `imbalance`: FLOPs of the slowest rank over the mean, the mean of all steps; `worst_imbalance`
    is that of the worst step.
    """

    filler: float
    rounding: float
    imbalance: float
    worst_imbalance: float


def measure_waste(
    shape_of: Callable[[int], Shape],
    flops_of: Callable[[int], float],
    grid: LatentGrid,
    *,
    budget: int,
    ranks: int,
    steps: int,
) -> Waste:
    """The waste of `steps` steps from a stream's begin, where `flops_of(tokens)` tells what a sample costs."""
    planner = StepPlanner(lambda sample: tokens_of(grid, shape_of(sample)), budget)
    state, used, pixels, imbalances = StreamState(), 0, 0, []
    for _ in range(steps):
        samples, state = planner.plan(state)
        shapes = [shape_of(sample) for sample in samples]
        tokens = [tokens_of(grid, shape) for shape in shapes]
        loads = [Load(sample, n, flops_of(n)) for sample, n in zip(samples, tokens, strict=True)]
        work = [sum(load.flops for load in mine) for mine in share(loads, ranks)]
        used += sum(tokens)
        pixels += sum(shape.frames * shape.height * shape.width for shape in shapes)
        imbalances.append(max(work) / (sum(work) / ranks))
    return Waste(
        filler=1 - used / (steps * budget),
        rounding=1 - used * prod(grid.cell) / pixels,
        imbalance=sum(imbalances) / steps,
        worst_imbalance=max(imbalances),
    )
