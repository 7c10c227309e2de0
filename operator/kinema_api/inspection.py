"""The verdicts on a file of unknown origin, which the command and whatever inspects files agree on."""

from __future__ import annotations

from typing import Final, Literal, get_args

Verdict = Literal["signed", "untrusted", "changed", "watermarked", "unknown"]

VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
MEANINGS: Final[dict[Verdict, str]] = {
    "signed": "signed by a signer whom you trust, and not changed since",
    "untrusted": "signed and not changed since, by a signer whom you have not said to trust",
    "changed": "signed, but changed since, or the signature is of another file",
    "watermarked": "not signed, but it has a watermark of these keys",
    "unknown": "neither a signature nor a watermark of these keys was found",
}
