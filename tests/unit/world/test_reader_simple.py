import numpy as np
import pytest

from examples import examples
from kinema_world import Attributes, Video, World, coverage
from kinema_world.errors import ClipError
from kinema_world.reader import parse

WORLD = World.fixed(7, 8, 24, 24, 8)


def _clip(colour: str = "red", shape: str = "square", direction: str = "right") -> Video:
    for index in range(5000):
        if WORLD.scene(index).attributes == Attributes(colour, shape, direction):
            clip = WORLD.sample(index)
            return clip.video
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
    video = _clip()
    read = parse(np.repeat(video[:1], 8, axis=0))
    assert read == Attributes("red", "square", None)


def test_a_shape_that_moves_aslant_has_no_direction() -> None:
    video = np.zeros((8, 24, 24, 3), np.uint8)
    grid = np.arange(24, dtype=np.float32) + 0.5
    for frame in range(8):
        place = 8.0 + frame
        alpha = coverage("square", grid[:, None] - place, grid - place, 5.5)
        video[frame] = alpha[..., None] * (235, 40, 40)
    assert parse(video) == Attributes("red", "square", None)


@pytest.mark.parametrize("size", [(8, 24, 24), (8, 32, 48), (16, 64, 36)])
def test_true_clips_are_read(size: tuple[int, int, int]) -> None:
    world = World.fixed(11, *size, 8)
    clips = [world.sample(index) for index in range(examples(120))]
    assert sum(parse(clip.video) == clip.scene.attributes for clip in clips) >= 0.99 * len(clips)


def test_two_colours_are_no_colour() -> None:
    video = _clip("red")
    video[::2] = video[::2][..., ::-1]
    read = parse(video)
    assert read is not None
    assert read.colour is None


def test_played_backwards_the_direction_turns() -> None:
    read = parse(_clip("blue", "triangle", "down")[::-1].copy())
    assert read is not None
    assert read.direction == "up"


@pytest.mark.parametrize("shape", ["square", "circle", "triangle"])
def test_blur_haze_and_noise_are_borne(shape: str) -> None:
    """What a small model's clips have that true ones do not."""
    video = _clip("yellow", shape, "left")
    soft = video.astype(np.float32)
    soft = (soft + np.roll(soft, 1, 1) + np.roll(soft, -1, 1) + np.roll(soft, 1, 2) + np.roll(soft, -1, 2)) / 5
    soft += np.random.default_rng(1).normal(10, 10, soft.shape)
    assert parse(soft.clip(0, 255).astype(np.uint8)) == Attributes("yellow", shape, "left")


def test_what_is_no_clip_is_refused() -> None:
    with pytest.raises(ClipError, match="uint8"):
        parse(np.zeros((8, 24, 24), np.uint8))
