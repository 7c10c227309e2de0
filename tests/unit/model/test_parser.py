import dataclasses

import numpy as np
import pytest

from kinema_model.errors import ShapeError
from kinema_model.parser import parse
from kinema_model.world import Attributes, State, Video, World

WORLD = World(7, 8, 24, 24, 8)


def _clip(colour: str = "red", shape: str = "square", direction: str = "right") -> tuple[Video, State]:
    for index in range(5000):
        state, _ = WORLD.state(index)
        if state.attributes == Attributes(colour, shape, direction):
            return WORLD.render([state])[0], state
    raise AssertionError("the world does not draw this combination")


def test_nothing_to_see() -> None:
    assert parse(np.zeros((8, 24, 24, 3), np.uint8)) is None
    specks = np.zeros((8, 24, 24, 3), np.uint8)
    specks[:, 3, 3] = 255
    assert parse(specks) is None


def test_noise_is_no_shape() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 24, 24, 3), dtype=np.uint8)
    read = parse(noise)
    assert read is None or read == Attributes(None, None, None)


def test_a_still_shape_has_no_direction() -> None:
    video, _ = _clip()
    read = parse(np.repeat(video[:1], 8, axis=0))
    assert read == Attributes("red", "square", None)


def test_a_shape_that_moves_aslant_has_no_direction() -> None:
    _, state = _clip()
    (x, y), *_ = state.positions
    aslant = dataclasses.replace(state, positions=tuple((x - 4 + i, y - 4 + i) for i in range(8)))
    read = parse(WORLD.render([aslant])[0])
    assert read == Attributes("red", "square", None)


def test_two_colours_are_no_colour() -> None:
    video, _ = _clip("red")
    video[::2] = video[::2][..., ::-1]
    read = parse(video)
    assert read is not None
    assert read.colour is None


def test_played_backwards_the_direction_turns() -> None:
    read = parse(_clip("blue", "triangle", "down")[0][::-1].copy())
    assert read is not None
    assert read.direction == "up"


@pytest.mark.parametrize("shape", ["square", "circle", "triangle"])
def test_blur_haze_and_noise_are_borne(shape: str) -> None:
    """What a small model's clips have that true ones do not."""
    video, _ = _clip("yellow", shape, "left")
    soft = video.astype(np.float32)
    soft = (soft + np.roll(soft, 1, 1) + np.roll(soft, -1, 1) + np.roll(soft, 1, 2) + np.roll(soft, -1, 2)) / 5
    soft += np.random.default_rng(1).normal(10, 10, soft.shape)
    assert parse(soft.clip(0, 255).astype(np.uint8)) == Attributes("yellow", shape, "left")


def test_what_is_no_clip_is_refused() -> None:
    with pytest.raises(ShapeError, match="uint8"):
        parse(np.zeros((8, 24, 24), np.uint8))
