"""Clips of every kind are read back as their captions say, sharp, and soft and noisy as a model draws them."""

import numpy as np
import pytest

from examples import examples
from kinema_world import SceneKind, ShapeMix, Video, World, WorldConfig
from kinema_world.reader import agreement, read

pytestmark = pytest.mark.slow


CLIPS = examples(10)
SHAPES = ShapeMix(frames=(16, 24), sides=(32, 64))


def softened(video: Video, seed: int) -> Video:
    """Blurred by a Gaussian of 1 px and with noise of 8 of 255."""
    kernel = np.exp(-(np.arange(-3, 4) ** 2) / 2)
    kernel /= kernel.sum()
    soft = video.astype(np.float32)
    for axis in (1, 2):
        padded = np.pad(soft, [(3, 3) if number == axis else (0, 0) for number in range(4)], mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 7, axis=axis)
        soft = windows @ kernel.astype(np.float32)
    soft += np.random.default_rng(seed).normal(0, 8, soft.shape)
    return np.asarray(soft.clip(0, 255), dtype=np.uint8)


@pytest.mark.parametrize("soft", [False, True], ids=["sharp", "soft"])
@pytest.mark.parametrize("kind", SceneKind)
def test_what_captions_ask_for_is_read(kind: SceneKind, soft: bool) -> None:
    world = World(WorldConfig(seed=3, split="all", kinds={kind: 1.0}, shapes=SHAPES))
    asked = right = 0
    for index in range(CLIPS):
        clip = world.sample(index)
        video = softened(clip.video, index) if soft else clip.video
        marks = agreement(clip.scene.facts, read(video, clip.scene.shape.fps).facts)
        asked += len(marks)
        right += sum(marks.values())
    assert right >= (0.95 if soft else 0.98) * asked


def test_colour_errors_are_borne() -> None:
    world = World(WorldConfig(seed=5, kinds={SceneKind.SEVERAL: 1.0}, shapes=SHAPES))
    tint = np.array([0.9, 1.0, 0.85])
    for index in range(6):
        clip = world.sample(index)
        tinted = (clip.video * tint + (6, 0, 8)).clip(0, 255).astype(np.uint8)
        marks = agreement(clip.scene.facts, read(tinted, clip.scene.shape.fps).facts)
        assert all(good for address, good in marks.items() if not address.endswith("background"))
