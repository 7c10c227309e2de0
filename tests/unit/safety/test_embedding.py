"""A mark changes a clip little, whatever it shows, and a clip that cannot carry one says so."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_safety.errors import ClipTooSmall, WatermarkRefused
from kinema_safety.watermark.embedding import Embedder, embed
from kinema_safety.watermark.grid import capacity
from kinema_safety.watermark.pattern import PatternKey
from unit.safety.moving_clips import psnr, textured

KEY = PatternKey("one", b"a key of 16 byte")
PAYLOAD = 0x0123_4567_89AB_CDEF
LEAST_PSNR = 38.0


@settings(max_examples=examples(40), deadline=None)
@given(
    st.integers(0, 2**64 - 1),
    st.sampled_from(["black", "white", "grey", "noise", "checker", "textured"]),
    st.integers(16, 40).map(lambda n: 8 * n + 2),
    st.integers(16, 40).map(lambda n: 6 * n),
    st.floats(8, 60),
)
def test_the_loss_is_bounded_for_any_content(payload: int, shows: str, height: int, width: int, fps: float) -> None:
    clip = {
        "black": np.zeros((9, height, width, 3)),
        "white": np.full((9, height, width, 3), 255),
        "grey": np.full((9, height, width, 3), 127),
        "noise": np.random.default_rng(payload % 97).integers(0, 256, (9, height, width, 3)),
        "checker": np.broadcast_to(
            255 * (np.indices((height, width)).sum(0) % 2)[None, :, :, None], (9, height, width, 3)
        ),
        "textured": textured(payload % 89, 9, height, width),
    }[shows].astype(np.uint8)
    embedder = Embedder((height, width), fps, payload, KEY)
    marked = np.stack([embedder.frame(frame) for frame in clip])
    assert psnr(clip, marked) >= LEAST_PSNR
    assert int(np.abs(marked.astype(int) - clip).max()) <= 7


def test_only_brightness_changes() -> None:
    clip = np.full((3, 128, 128, 3), (60, 120, 200), np.uint8)
    change = np.stack([Embedder((128, 128), 24, PAYLOAD, KEY).frame(frame) for frame in clip]).astype(int) - clip
    assert change.any()
    assert (change == change[..., :1]).all()


def test_frames_one_by_one_are_the_clip() -> None:
    clip = textured(3, 48)
    embedder = Embedder(clip.shape[1:3], 24, PAYLOAD, KEY)
    assert (embed(clip, 24, PAYLOAD, KEY) == np.stack([embedder.frame(frame) for frame in clip])).all()


def test_keys_and_payloads_give_different_marks() -> None:
    clip = textured(3, 48)
    marks = [
        embed(clip, 24, payload, key)
        for payload, key in ((PAYLOAD, KEY), (PAYLOAD + 1, KEY), (PAYLOAD, PatternKey("two", b"another, 16 byte")))
    ]
    assert all((one != other).mean() > 0.1 for one, other in pairwise(marks))


@pytest.mark.parametrize(
    ("frames", "height", "width", "fps", "why"),
    [
        (48, 480, 832, 24, None),
        (48, 240, 416, 24, None),
        (120, 128, 128, 24, None),
        (12, 480, 832, 24, "it needs at least 1 s"),
        (48, 64, 64, 24, "its shorter side needs at least 120 pixels"),
        (48, 128, 128, 24, "it needs at least 2.2 s"),
        (16, 480, 832, 4, "it needs at least 7.5 frames per second"),
        (1, 480, 832, 24, "it needs at least 1 s"),
        (48, 480, 832, 0, "it needs at least 7.5 frames per second"),
    ],
)
def test_a_clip_says_whether_it_can_carry_a_mark(
    frames: int, height: int, width: int, fps: float, why: str | None
) -> None:
    room = capacity(frames, height, width, fps)
    assert room.sufficient == (why is None)
    assert f"{width}x{height}" in room.message
    assert why is None or room.message.endswith(f"too small to carry a watermark: {why}.")


def test_a_clip_that_is_too_small_is_refused_with_a_remedy() -> None:
    with pytest.raises(ClipTooSmall, match="Make it larger or longer"):
        embed(np.zeros((8, 64, 64, 3), np.uint8), 8, PAYLOAD, KEY)


@pytest.mark.parametrize(
    "frame", [np.zeros((64, 64, 3), np.uint8), np.zeros((128, 128, 3), np.float32), np.zeros((128, 128), np.uint8)]
)
def test_a_frame_of_another_shape_is_refused(frame: np.ndarray) -> None:
    with pytest.raises(WatermarkRefused, match="frame: "):
        Embedder((128, 128), 24, PAYLOAD, KEY).frame(frame)


@pytest.mark.parametrize(("shape", "fps"), [((0, 128), 24), ((128, 128), 0), ((128, 128), float("nan"))])
def test_a_shape_or_rate_that_is_none_is_refused(shape: tuple[int, int], fps: float) -> None:
    with pytest.raises(WatermarkRefused, match="shape, fps"):
        Embedder(shape, fps, PAYLOAD, KEY)
