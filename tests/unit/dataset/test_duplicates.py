"""Near-duplicates are found whatever was done to them, what differs is not, and the order of clips does not matter."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from kinema_dataset.alignment import duplicates
from kinema_dataset.duplicates import Entry, Group, groups, verdicts
from kinema_dataset.errors import SignatureError
from kinema_dataset.frames import Frames
from kinema_dataset.lsh import candidates
from kinema_dataset.records import Filter
from kinema_dataset.signature import Signature, signature, views
from unit.dataset.pictures import panned

CLIPS = [panned(seed, 24, step=1.0) for seed in range(6)]
SIGNED = [signature(clip, 12) for clip in CLIPS]


def noisy(clip: Frames) -> Frames:
    return (clip + np.random.default_rng(0).normal(0, 6, clip.shape)).clip(0, 255).astype(np.uint8)


def other_size(clip: Frames) -> Frames:
    return np.stack([cv2.resize(frame, (64, 48), interpolation=cv2.INTER_AREA) for frame in clip])


COPIES = {
    "as it is": lambda clip: clip,
    "noise": noisy,
    "size": other_size,
    "crop": lambda clip: clip[:, 9:, :108],
    "middle": lambda clip: clip[:, 4:-5, 6:-6],
    "mirror": lambda clip: clip[:, :, ::-1],
    "shift": lambda clip: clip[5:],
    "brightness": lambda clip: (clip * 0.85).astype(np.uint8),
    "all": lambda clip: other_size(noisy(clip[3:, 5:-4, :-10, :][:, :, ::-1])),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_a_duplicate_and_a_candidate(copy: str) -> None:
    copies = [signature(COPIES[copy](clip), 12) for clip in CLIPS]
    for one, other in zip(SIGNED, copies, strict=True):
        assert duplicates(one, other)
        assert duplicates(other, one)
    everything = [*SIGNED, *copies]
    pairs = candidates(np.stack([views(one) for one in everything]))
    assert {(i, i + 6) for i in range(6)} <= set(map(tuple, pairs.tolist()))


def test_other_clips_are_no_duplicates() -> None:
    assert not any(duplicates(a, b) for a in SIGNED for b in SIGNED if a is not b)


def test_parts_of_one_shot_that_move_otherwise_are_no_duplicates() -> None:
    held = np.repeat(panned(3, 1), 30, 0)
    for index, frame in enumerate(held):
        cv2.circle(frame, (20 + 3 * index, int(45 + 25 * np.sin(index / 2))), 12, (250, 240, 30), -1)
    first, second = (signature(part, 12) for part in (held[:15], held[15:]))
    assert not duplicates(first, second)
    assert duplicates(first, signature(held[:14], 12))


def test_stills_of_one_picture_are_duplicates() -> None:
    assert duplicates(*(signature(np.repeat(panned(3, 1), n, 0), 12) for n in (10, 20)))
    assert not duplicates(*(signature(np.repeat(panned(n, 1), 10, 0), 12) for n in (3, 4)))


@settings(max_examples=examples(20))
@given(st.permutations(range(9)))
def test_groups_do_not_depend_on_the_order(order: list[int]) -> None:
    made = [Entry(f"clip{i}", one, (10800.0,)) for i, one in enumerate(SIGNED)]
    made += [Entry(f"copy{i}", SIGNED[i].mirrored(), (10800.0 + i,)) for i in range(2)]
    made.append(Entry("copy00", SIGNED[0], (9.0,)))
    found = groups([made[i] for i in order])
    assert found == (Group("clip0", ("copy0", "copy00")), Group("copy1", ("clip1",)))
    told = verdicts(found)
    assert sorted(told) == ["clip1", "copy0", "copy00"]
    assert told["clip1"].reason == "near-duplicate of copy1"
    assert all(one.filter == Filter.DUPLICATE for one in told.values())


def test_few_clips_have_no_groups_and_names_are_unique() -> None:
    assert groups([]) == groups([Entry("a", SIGNED[0])]) == ()
    with pytest.raises(SignatureError, match="two clips have one name"):
        groups([Entry("a", SIGNED[0]), Entry("a", SIGNED[1])])
    with pytest.raises(SignatureError, match="fps is 0"):
        signature(CLIPS[0], 0)


def test_a_clip_of_any_length_and_rate_has_a_bounded_signature() -> None:
    long = np.zeros((400, 4, 4, 3), np.uint8)
    for fps, samples in ((1, 8), (24, 64), (1000, 4)):
        assert signature(long, fps).luma.shape == (samples, 24, 24)


def test_the_index_compares_few_of_many() -> None:
    draw = np.random.default_rng(1)
    many = draw.normal(0, 1, (3000, 75)).astype(np.float32)
    many[1500:1600] = many[:100] + draw.normal(0, 0.15, (100, 75))
    many /= np.linalg.norm(many, axis=1, keepdims=True)
    pairs = candidates(many[:, None])
    assert set(map(tuple, pairs.tolist())) == {(i, 1500 + i) for i in range(100)}


def test_a_bucket_of_equal_clips_stays_bounded() -> None:
    same = np.ones((600, 75), np.float32) / np.sqrt(75).astype(np.float32)
    pairs = candidates(same[:, None])
    assert len(pairs) <= 600 * 48
    assert set(pairs.ravel().tolist()) == set(range(600))


def test_a_signature_forgets_nothing_when_mirrored_twice() -> None:
    twice = SIGNED[0].mirrored().mirrored()
    assert isinstance(twice, Signature)
    assert (twice.luma == SIGNED[0].luma).all()
