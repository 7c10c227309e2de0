"""The 64 bits of a watermark: who may make them, and how a reader tells them from noise.

A payload is an id of 40 bits and a message authentication code of 24 bits over it (HMAC-SHA256, RFC 2104, cut off as
its section 5 allows). The control plane makes payloads; what embeds them has no key of the code, so it cannot make
another's.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from kinema_safety.errors import WatermarkRefused

ID_BITS: Final = 40
MAC_BITS: Final = 24
PAYLOAD_BITS: Final = ID_BITS + MAC_BITS
MIN_KEY_BYTES: Final = 16
"""Below it a key can be found by trying."""
_LABEL: Final = b"kinema watermark payload 1\0"


def payload_of(clip_id: int, mac_key: bytes) -> int:
    """The payload of 64 bits for an id of 40 bits: the id in the high bits, its code in the low ones.

    Raises `WatermarkRefused` for an id or a key out of bounds.
    """
    if not 0 <= clip_id < 1 << ID_BITS:
        raise WatermarkRefused(f"The id of a watermark has {ID_BITS} bits: use 0 to {(1 << ID_BITS) - 1}.")
    check_key("mac", mac_key)
    return clip_id << MAC_BITS | _mac(clip_id, mac_key)


def check(payload: int, mac_key: bytes) -> int | None:
    """The id in a payload of 64 bits, or None if its code is not the one that the key gives."""
    clip_id, mac = payload >> MAC_BITS, payload & ((1 << MAC_BITS) - 1)
    if not 0 <= payload < 1 << PAYLOAD_BITS:
        return None
    width = MAC_BITS // 8
    same = hmac.compare_digest(mac.to_bytes(width, "big"), _mac(clip_id, mac_key).to_bytes(width, "big"))
    return clip_id if same else None


def check_key(field: str, key: bytes) -> None:
    """Raise `WatermarkRefused` unless a key is long enough; `field` names it."""
    if len(key) < MIN_KEY_BYTES:
        raise WatermarkRefused(
            f"{field}: a key of {len(key)} bytes is too short; use at least {MIN_KEY_BYTES} at random."
        )


def _mac(clip_id: int, key: bytes) -> int:
    digest = hmac.digest(key, _LABEL + clip_id.to_bytes(ID_BITS // 8, "big"), hashlib.sha256)
    return int.from_bytes(digest[: MAC_BITS // 8], "big")
