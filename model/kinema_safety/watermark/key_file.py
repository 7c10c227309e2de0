"""The file of keys that a reader of watermarks is given: the newest key first, older ones for older clips.

`{"keys": [{"id": "2026-01", "pattern": BASE64, "mac": BASE64}]}`, each at least 16 bytes at random.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final

from kinema_safety.errors import WatermarkRefused
from kinema_safety.watermark.pattern import PatternKey
from kinema_safety.watermark.payload import check_key
from kinema_safety.watermark.reading import ReadKey

MAX_KEYS: Final = 1000
"""With these many, and the windows of an hour, false positives stay below one in a million (`false_positive_rate`)."""
_FORM: Final = 'write {"keys": [{"id": NAME, "pattern": BASE64, "mac": BASE64}]}'


def parse_keys(text: str) -> list[ReadKey]:
    """The keys of a file, in its order. Raises `WatermarkRefused` with the field, and nothing of a key."""
    try:
        document = json.loads(text)
    except ValueError:
        raise WatermarkRefused(f"keys: it is not JSON; {_FORM}.") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_KEYS:
        raise WatermarkRefused(f"keys: it is no list of 1 to {MAX_KEYS} keys; {_FORM}.")
    keys = [_key(number, entry) for number, entry in enumerate(entries)]
    if len({key.pattern.key_id for key in keys}) < len(keys):
        raise WatermarkRefused("keys: two keys have the same id; give each its own.")
    return keys


def _key(number: int, entry: object) -> ReadKey:
    name = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(name, str) or not name:
        raise WatermarkRefused(f"keys[{number}].id: it is missing or no text; {_FORM}.")
    pattern, mac = (_bytes(f"keys[{number}].{field}", entry.get(field)) for field in ("pattern", "mac"))
    return ReadKey(PatternKey(name, pattern), mac)


def _bytes(field: str, value: object) -> bytes:
    try:
        key = base64.b64decode(value if isinstance(value, str) else "?", validate=True)
    except (binascii.Error, ValueError):
        raise WatermarkRefused(f"{field}: it is missing or not base64; {_FORM}.") from None
    check_key(field, key)
    return key
