"""A mark is read back after what happens to clips, with its key alone; where there is none, none is read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kinema_safety.errors import WatermarkRefused
from kinema_safety.watermark.convolution import payload_in
from kinema_safety.watermark.embedding import Video, embed
from kinema_safety.watermark.pattern import PatternKey, signs
from kinema_safety.watermark.payload import check, payload_of
from kinema_safety.watermark.reading import (
    AGREEMENT,
    ReadKey,
    decoded,
    false_positive_rate,
    read,
    read_frames,
    soft_bits,
)
from kinema_safety.watermark.synchronisation import Lock
from unit.safety.moving_clips import scaled, textured

MAC = b"the code's key.."
NEW, OLD = (PatternKey(name, name.encode() * 8) for name in ("new", "old"))
KEYS = [ReadKey(NEW, MAC), ReadKey(OLD, MAC)]
CLIP_ID = 0xFEED_F00D
PAYLOAD = payload_of(CLIP_ID, MAC)
FPS = 24.0


@pytest.fixture(scope="module")
def clip() -> Video:
    return textured(1)


@pytest.fixture(scope="module")
def marked(clip: Video) -> Video:
    return embed(clip, FPS, PAYLOAD, OLD)


def test_an_old_key_still_resolves(marked: Video) -> None:
    reading = read(marked, FPS, KEYS)
    assert reading is not None
    assert (reading.payload, reading.clip_id, reading.key_id) == (PAYLOAD, CLIP_ID, "old")
    assert AGREEMENT <= reading.agreement <= 1


CHANGES: dict[str, Callable[[Video], tuple[Video, float]]] = {
    "scaled to half": lambda clip: (scaled(clip, 120, 208), FPS),
    "enlarged": lambda clip: (scaled(clip, 360, 624), FPS),
    "cropped": lambda clip: (clip[:, 20:-16, 24:-40], FPS),
    "cropped and enlarged again": lambda clip: (scaled(clip[:, 20:-20, 34:-36], 240, 416), FPS),
    "with bars": lambda clip: (np.pad(clip, ((0, 0), (16, 16), (0, 0), (0, 0))), FPS),
    "half of the frames": lambda clip: (clip[::2], FPS / 2),
    "begins later": lambda clip: (clip[11:], FPS),
    "shown faster": lambda clip: (clip, 30.0),
    "slower at half of the rate": lambda clip: (clip, FPS / 2),
    "brighter, with less contrast": lambda clip: ((clip * 0.8 + 40).astype(np.uint8), FPS),
    "noisy": lambda clip: (
        (clip + np.random.default_rng(0).normal(0, 6, clip.shape)).clip(0, 255).astype(np.uint8),
        FPS,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_mark_outlives(marked: Video, change: str) -> None:
    reading = read(*CHANGES[change](marked), KEYS)
    assert reading is not None
    assert reading.clip_id == CLIP_ID


def test_what_follows_another_clip_is_read(clip: Video, marked: Video) -> None:
    frames = [*clip, *clip[::-1], *marked, *marked[::-1]]
    assert (reading := read_frames(iter(frames), FPS, KEYS)) is not None
    assert reading.clip_id == CLIP_ID


@pytest.mark.parametrize(
    "keys",
    [
        [ReadKey(NEW, MAC)],
        [ReadKey(OLD, b"another's code..")],
        [],
    ],
    ids=["pattern", "code", "none"],
)
def test_without_its_keys_nothing_is_read(marked: Video, keys: list[ReadKey]) -> None:
    assert read(marked, FPS, keys) is None


@pytest.mark.parametrize(
    "unmarked",
    [
        textured(2, 30),
        np.zeros((30, 240, 416, 3), np.uint8),
        np.random.default_rng(3).integers(0, 256, (30, 120, 208, 3), np.uint8),
        np.zeros((1, 240, 416, 3), np.uint8),
        np.zeros((0, 240, 416, 3), np.uint8),
        np.zeros((30, 2, 2, 3), np.uint8),
        np.zeros((30, 16, 900, 3), np.uint8),
    ],
    ids=["textured", "black", "noise", "one frame", "no frame", "tiny", "a strip"],
)
def test_nothing_is_read_where_there_is_nothing(unmarked: Video) -> None:
    assert read(unmarked, FPS, KEYS) is None


def test_wrong_keys_read_nothing_of_a_marked_clip(marked: Video) -> None:
    """The clip's own tile, with keys that did not make it: what reading does after the template was found."""
    tile = _tile(marked)
    soft = np.stack([soft_bits(tile, signs(number.to_bytes(16, "big"))) for number in range(500)])
    bits, agreement = decoded(soft)
    assert agreement.max() < AGREEMENT
    assert not any(check(payload_in(word), MAC) for word in bits)


def test_false_positives_are_below_one_in_a_million_even_of_a_thousand_keys_on_a_thousand_windows() -> None:
    assert false_positive_rate(checks=2 * 1000 * 1000) <= 1e-6
    assert false_positive_rate(2) == 2 * false_positive_rate(1)


def test_a_short_pattern_key_is_refused() -> None:
    with pytest.raises(WatermarkRefused, match="pattern: a key of 3 bytes"):
        PatternKey("short", b"abc")


def test_a_mark_of_two_clips_is_read_as_the_first(clip: Video) -> None:
    other = payload_of(7, MAC)
    frames = [*embed(clip, FPS, PAYLOAD, NEW), *embed(clip, FPS, PAYLOAD, NEW), *embed(clip, FPS, other, NEW)]
    assert (reading := read_frames(iter(frames), FPS, KEYS)) is not None
    assert reading.clip_id == CLIP_ID


def _tile(clip: Video) -> np.ndarray:
    from kinema_safety.watermark import reading

    (window,) = reading.windows(iter(clip), FPS)
    found = reading.locked(window, None, scan=False)
    assert found is not None
    assert isinstance(found[1], Lock)
    return found[0]
