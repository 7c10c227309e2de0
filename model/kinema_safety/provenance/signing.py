"""Signs a clip: the last thing that is done to it, since every later change of a byte shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import c2pa

from kinema_safety.errors import SigningFailed
from kinema_safety.provenance.chain import SigningChain
from kinema_safety.provenance.claim import Claim, Input, manifest
from kinema_safety.provenance.library import context

MIME: Final = "video/mp4"


def sign(source: Path, target: Path, claim: Claim, chain: SigningChain, tsa_url: str | None = None) -> None:
    """Write the MP4 `source` with a signed manifest as `target`, which must be another path.

    An input whose provenance is broken is stated with what is wrong with it. With `tsa_url` the signature gets a
    timestamp of that authority (RFC 3161), which is asked over HTTP. Raises `SigningFailed`; `target` does not exist
    then.
    """
    if source == target:
        raise SigningFailed("target: a clip is not signed in place; give another path.")
    readable, unreadable = _sorted(claim.inputs)
    try:
        with c2pa.Builder(json.dumps(manifest(claim, readable, unreadable)), context=context()) as builder:
            for one in readable:
                _add(builder, one)
            info = c2pa.C2paSignerInfo(chain.algorithm, chain.certificates_pem(), chain.key_pem(), tsa_url)
            with source.open("rb") as read, target.open("w+b") as written:
                builder.sign(c2pa.Signer.from_info(info), MIME, read, written)
    except (c2pa.C2paError, OSError, ValueError) as error:
        target.unlink(missing_ok=True)
        raise SigningFailed(f"{source.name}: it was not signed ({_reason(error, tsa_url)}).") from None


def _sorted(inputs: tuple[Input, ...]) -> tuple[tuple[Input, ...], tuple[str, ...]]:
    """Inputs that can be ingredients, and the names of those whose files the library cannot take apart."""
    readable, unreadable = [], []
    for one in inputs:
        try:
            with c2pa.Builder("{}", context=context()) as trial:
                _add(trial, one)
        except (c2pa.C2paError, OSError):
            unreadable.append(one.name)
        else:
            readable.append(one)
    return tuple(readable), tuple(unreadable)


def _add(builder: Any, one: Input) -> None:
    description = {"title": one.name, "relationship": "inputTo", "label": one.name}
    with one.path.open("rb") as file:
        builder.add_ingredient(json.dumps(description), one.mime, file)


def _reason(error: Exception, tsa_url: str | None) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"{text}; see whether the timestamp authority answers" if tsa_url and "ime" in text else text
