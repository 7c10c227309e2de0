"""A payload says which clip it is only to those who have the key of its code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_safety.errors import WatermarkRefused
from kinema_safety.watermark.payload import MAC_BITS, PAYLOAD_BITS, check, payload_of

KEY, OTHER = b"a key of 16 byte", b"another, 16 byte"
IDS = st.integers(0, 2**40 - 1)


@given(IDS)
def test_an_id_comes_back_with_its_key_alone(clip_id: int) -> None:
    payload = payload_of(clip_id, KEY)
    assert 0 <= payload < 1 << PAYLOAD_BITS
    assert check(payload, KEY) == clip_id
    assert check(payload, OTHER) != clip_id or payload_of(clip_id, OTHER) == payload


@given(IDS, st.integers(0, PAYLOAD_BITS - 1))
def test_a_changed_bit_of_the_code_is_seen(clip_id: int, bit: int) -> None:
    changed = payload_of(clip_id, KEY) ^ 1 << bit
    if bit < MAC_BITS:
        assert check(changed, KEY) is None
    else:
        assert check(changed, KEY) in (None, clip_id ^ 1 << bit - MAC_BITS)


def test_codes_of_other_keys_agree_as_often_as_chance() -> None:
    assert sum(check(payload_of(n, KEY), n.to_bytes(16, "big")) is not None for n in range(20_000)) <= 1


@pytest.mark.parametrize("clip_id", [-1, 2**40])
def test_an_id_out_of_bounds_is_refused(clip_id: int) -> None:
    with pytest.raises(WatermarkRefused, match="40 bits"):
        payload_of(clip_id, KEY)


def test_a_short_key_is_refused_and_not_quoted() -> None:
    with pytest.raises(WatermarkRefused, match="mac: a key of 5 bytes is too short") as refused:
        payload_of(1, b"short")
    assert "b'short'" not in str(refused.value)


@pytest.mark.parametrize("payload", [-1, 1 << 64])
def test_what_is_no_payload_has_no_id(payload: int) -> None:
    assert check(payload, KEY) is None
