"""A file of keys is read whole or refused with the field that is wrong, and nothing of a key is in the message."""

from __future__ import annotations

import base64
import json

import pytest

from kinema_safety.errors import WatermarkRefused
from kinema_safety.watermark.key_file import MAX_KEYS, parse_keys
from kinema_safety.watermark.reading import WINDOW_SECONDS, false_positive_rate

GOOD = base64.b64encode(b"a key of 16 byte").decode()
SHORT = base64.b64encode(b"tooshort").decode()


def entry(**changes: object) -> dict[str, object]:
    return {"id": "one", "pattern": GOOD, "mac": GOOD, **changes}


def test_keys_come_in_their_order() -> None:
    keys = parse_keys(json.dumps({"keys": [entry(id="new"), entry(id="old")]}))
    assert [key.pattern.key_id for key in keys] == ["new", "old"]
    assert keys[0].mac == b"a key of 16 byte"


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("nothing", "keys: it is not JSON"),
        ([], "keys: it is no list of 1 to"),
        ({}, "keys: it is no list of 1 to"),
        ({"keys": []}, "keys: it is no list of 1 to"),
        ({"keys": [entry(id=str(n)) for n in range(MAX_KEYS + 1)]}, "keys: it is no list of 1 to"),
        ({"keys": [1]}, r"keys\[0\].id: it is missing"),
        ({"keys": [entry(), entry(id="")]}, r"keys\[1\].id: it is missing"),
        ({"keys": [entry(), entry()]}, "keys: two keys have the same id"),
        ({"keys": [entry(pattern=None)]}, r"keys\[0\].pattern: it is missing or not base64"),
        ({"keys": [entry(mac="*" * 24)]}, r"keys\[0\].mac: it is missing or not base64"),
        ({"keys": [entry(mac=SHORT)]}, r"keys\[0\].mac: a key of 8 bytes is too short"),
    ],
)
def test_a_bad_file_is_refused(document: object, why: str) -> None:
    with pytest.raises(WatermarkRefused, match=why) as refused:
        parse_keys(document if isinstance(document, str) else json.dumps(document))
    assert "tooshort" not in str(refused.value)
    assert SHORT not in str(refused.value)


def test_as_many_keys_on_an_hour_keep_the_false_positive_rate() -> None:
    decodings = 2 * MAX_KEYS * 3600 / WINDOW_SECONDS
    assert false_positive_rate(round(decodings)) <= 1e-6
