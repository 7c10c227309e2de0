"""What packing wastes: little for the mix of shapes that trainings see, and rounding is what is cropped."""

from functools import cache, partial

import pytest

from bench.waste import measure_waste
from kinema_model.codec.grid import LatentGrid
from kinema_model.config import PRESETS
from kinema_model.errors import ShapeError
from kinema_model.network.config import PUBLISHED, NetworkConfig
from kinema_model.network.flops import training_flops
from kinema_model.packing.planning import tokens_of
from kinema_model.rng import RngStream, generator
from kinema_world import SceneKind, ShapeMix
from kinema_world.scene import ClipShape

GRID = LatentGrid((1, 8, 8))
TEXT = 20
BUDGET = 131_072
"""32768 tokens for each of four ranks: twice the largest clip of the mix."""
RANKS = 4
STEPS = 200


@cache
def _mixed(sample: int) -> ClipShape:
    """The shape that a scene of some kind draws first: 1 to 64 frames, 32 to 128 px, 9:16 to 16:9, 8, 12 and 24 fps."""
    draw = generator(RngStream.WORLD_PLAN, 5, sample)
    kinds = tuple(SceneKind)
    return ShapeMix().draw(draw, kinds[int(draw.integers(len(kinds)))])


def _flops(config: NetworkConfig, tokens: int) -> float:
    return training_flops(config, [tokens], [TEXT])


@pytest.mark.parametrize(
    "config",
    [
        PRESETS["small"].network,
        PUBLISHED["wan2.1-t2v-1.3b"],
        PUBLISHED["wan2.1-t2v-14b"],
    ],
)
def test_waste_of_a_mixed_set_is_small(config: NetworkConfig) -> None:
    waste = measure_waste(_mixed, partial(_flops, config), GRID, budget=BUDGET, ranks=RANKS, steps=STEPS)
    print(f"{BUDGET} tokens a step, {RANKS} ranks, {STEPS} steps: {waste}")
    assert waste.filler + waste.rounding <= 0.02
    assert 1 <= waste.imbalance <= 1.05
    # The largest clip alone may cost more than a mean rank, and then no sharing makes them equal.
    assert waste.worst_imbalance <= 1.1


def test_rounding_is_what_is_cropped() -> None:
    shape = ClipShape(3, 20, 24, 8)
    assert tokens_of(LatentGrid((2, 8, 8)), shape) == 1 * 2 * 3
    waste = measure_waste(lambda _: shape, float, LatentGrid((2, 8, 8)), budget=13, ranks=1, steps=2)
    assert waste.rounding == pytest.approx(1 - (2 * 16 * 24) / (3 * 20 * 24))
    assert (waste.filler, waste.imbalance) == (pytest.approx(1 / 13), 1)
    with pytest.raises(ShapeError, match="smaller than a token"):
        tokens_of(LatentGrid((1, 32, 8)), shape)
