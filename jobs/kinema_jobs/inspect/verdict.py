"""What is said about a file, out of its provenance and its watermark. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kinema_api.inspection import Verdict
from kinema_safety.provenance.reading import Provenance
from kinema_safety.watermark.payload import ID_BITS
from kinema_safety.watermark.reading import Reading


def verdict(provenance: Provenance, mark: Reading | None) -> Verdict:
    """What holds of the file; a signature says more than a watermark, since that outlives changes."""
    if provenance.state == "intact":
        return "signed" if provenance.trusted else "untrusted"
    if provenance.state == "changed":
        return "changed"
    return "unknown" if mark is None else "watermarked"


def report(provenance: Provenance, mark: Reading | None, looked: str) -> dict[str, Any]:
    """The document that is printed; `looked` says whether a watermark was looked for, and if not, why.

    `agrees` compares the watermark's id with the one that the signature names: a mark that was copied into another
    clip, or a signature of another one, differs.
    """
    signed = {key: value for key, value in asdict(provenance).items() if key != "watermark_id"}
    named = provenance.watermark_id
    return {
        "verdict": verdict(provenance, mark),
        "provenance": {**signed, "watermark_id": _shown(named)},
        "watermark": {
            "looked": looked,
            "id": _shown(mark.clip_id if mark else None),
            "key": mark.key_id if mark else None,
            "agreement": round(mark.agreement, 3) if mark else None,
            "agrees": None if mark is None or named is None else mark.clip_id == named,
        },
    }


def _shown(watermark_id: int | None) -> str | None:
    return None if watermark_id is None else f"{watermark_id:0{ID_BITS // 4}x}"
