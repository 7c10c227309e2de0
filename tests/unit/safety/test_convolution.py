"""The code of 64 bits in 256 signs corrects what encoders and crops take away."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kinema_safety.watermark.convolution import CODED_BITS, bits_of, decode, encode, payload_in

PAYLOADS = st.integers(0, 2**64 - 1)
FREE_DISTANCE = 24


@given(PAYLOADS)
def test_every_payload_comes_back(payload: int) -> None:
    assert payload_in(bits_of(payload)) == payload
    assert payload_in(decode(encode(bits_of(payload)[None]))[0]) == payload


@given(PAYLOADS, st.integers(0, 63))
def test_words_of_neighbours_are_far_apart(payload: int, bit: int) -> None:
    first, second = (encode(bits_of(word)[None])[0] for word in (payload, payload ^ 1 << bit))
    assert int((first != second).sum()) >= FREE_DISTANCE


@given(PAYLOADS, st.lists(st.integers(0, CODED_BITS - 1), max_size=(FREE_DISTANCE - 1) // 2, unique=True))
def test_turned_signs_below_half_of_the_distance_are_corrected(payload: int, turned: list[int]) -> None:
    soft = encode(bits_of(payload)[None])
    soft[0, turned] *= -1
    assert payload_in(decode(soft)[0]) == payload


@given(PAYLOADS, st.integers(0, CODED_BITS - 1), st.floats(0.01, 100))
def test_a_lost_quarter_anywhere_and_any_scale_are_no_harm(payload: int, start: int, scale: float) -> None:
    soft = encode(bits_of(payload)[None])
    soft[0, (start + np.arange(CODED_BITS // 4)) * 5 % CODED_BITS] = 0
    assert payload_in(decode(soft * np.float32(scale))[0]) == payload


def test_noise_as_strong_as_the_signal_is_corrected_and_words_do_not_mix() -> None:
    draw = np.random.default_rng(5)
    bits = draw.integers(0, 2, (200, 64), np.uint8)
    soft = encode(bits) + draw.normal(0, 0.9, (200, CODED_BITS)).astype(np.float32)
    wrong = (decode(soft) != bits).any(axis=1)
    assert wrong.mean() <= 0.05
    assert (decode(soft[:7]) == decode(soft)[:7]).all()
