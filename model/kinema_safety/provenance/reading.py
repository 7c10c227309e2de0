"""What a file says about where it is from, and whether that still holds.

Three answers: it is signed and as it was signed, it is signed but was changed (or the signature is of another file),
it is not signed. Apart from that stands whether the signer is one whom the reader trusts. The file is hostile until
the opposite is shown: its texts are data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import c2pa

from kinema_safety.errors import FileUnreadable
from kinema_safety.provenance.claim import GENERATION, MADE_BY_AI, SOFT_BINDING, WATERMARK_ALGORITHM
from kinema_safety.provenance.library import context

State = Literal["intact", "changed", "unsigned"]

UNTRUSTED: Final = "signingCredential.untrusted"
WEBM: Final = "video/webm"
MAX_TEXT: Final = 32_768
_NOT_SIGNED: Final = ("ManifestNotFound", "no JUMBF data found")
_NO_ASSET: Final = ("asset could not be parsed", "NotSupported", "Io:")
"""What c2pa-python says of a file itself; all else is about the manifest in it."""


@dataclass(frozen=True)
class SignedInput:
    """An ingredient of a clip, with what was wrong with its own provenance when the clip was signed."""

    name: str
    signed: bool
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Provenance:
    """What a file's manifest states. All but `state`, `trusted` and `problems` are None or empty unless it is
    intact."""

    state: State
    trusted: bool = False
    problems: tuple[str, ...] = ()
    """Codes of the specification, such as assertion.bmffHash.mismatch."""
    signer: str | None = None
    """Organisation of the signer's certificate."""
    made_by_ai: bool = False
    model_digest: str | None = None
    made_at: str | None = None
    agent: str | None = None
    watermark_id: int | None = None
    prompt: str | None = None
    inputs: tuple[SignedInput, ...] = ()


def examine(path: Path, mime: str, anchors_pem: bytes = b"") -> Provenance:
    """What the file says; a signer is trusted if its chain ends in one of the anchors. No manifest fits into a WebM.

    Raises `FileUnreadable` if it is no file of that kind.
    """
    if mime == WEBM:
        return Provenance("unsigned")
    try:
        with path.open("rb") as file, c2pa.Reader(mime, file, context=context(anchors_pem)) as reader:
            document: dict[str, Any] = json.loads(reader.json())
            return described(document, str(reader.get_validation_state()))
    except OSError as error:
        raise FileUnreadable(f"{path.name}: it cannot be read ({error.strerror}); give a file that exists.") from None
    except c2pa.C2paError as error:
        return _without_manifest(path.name, str(error))


def _without_manifest(name: str, message: str) -> Provenance:
    if any(each in message for each in _NOT_SIGNED):
        return Provenance("unsigned")
    if any(each in message for each in _NO_ASSET):
        raise FileUnreadable(f"{name}: it cannot be taken apart; give a whole MP4, WebM, PNG, JPEG or WebP.")
    return Provenance("changed", problems=("manifest.unreadable",))


def described(document: dict[str, Any], validation: str) -> Provenance:
    """The document of c2pa-python in our terms."""
    active = document.get("validation_results", {}).get("activeManifest", {})
    problems = tuple(dict.fromkeys(str(each["code"]) for each in active.get("failure", [])))
    if [code for code in problems if code != UNTRUSTED] or validation not in ("Valid", "Trusted"):
        return Provenance("changed", problems=problems)
    made = document["manifests"][document["active_manifest"]]
    generation, action = _assertion(made, GENERATION), _created(made)
    return Provenance(
        "intact",
        trusted=validation == "Trusted",
        problems=problems,
        signer=_text(made.get("signature_info", {}).get("issuer")),
        made_by_ai=action.get("digitalSourceType") == MADE_BY_AI,
        model_digest=_text(generation.get("modelDigest")),
        made_at=_text(action.get("when")),
        agent=_text(made.get("claim_generator_info", [{}])[0].get("name")),
        watermark_id=_watermark(_assertion(made, SOFT_BINDING)),
        prompt=_text(generation.get("prompt")),
        inputs=tuple(_input(each) for each in made.get("ingredients", [])),
    )


def _assertion(made: dict[str, Any], label: str) -> dict[str, Any]:
    found: object = next((each["data"] for each in made.get("assertions", []) if each.get("label") == label), {})
    return found if isinstance(found, dict) else {}


def _created(made: dict[str, Any]) -> dict[str, Any]:
    """The action by which the clip came to be."""
    for each in made.get("assertions", []):
        if str(each.get("label", "")).startswith("c2pa.actions"):
            for action in each["data"].get("actions", []):
                if action.get("action") == "c2pa.created":
                    return dict(action)
    return {}


def _watermark(binding: dict[str, Any]) -> int | None:
    if binding.get("alg") != WATERMARK_ALGORITHM:
        return None
    try:
        return int(binding["blocks"][0]["value"], 16)
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _input(ingredient: dict[str, Any]) -> SignedInput:
    results = ingredient.get("validation_results", {}).get("activeManifest", {})
    problems = tuple(dict.fromkeys(str(each["code"]) for each in results.get("failure", [])))
    return SignedInput(_text(ingredient.get("title")) or "", "active_manifest" in ingredient, problems)


def _text(value: object) -> str | None:
    return value[:MAX_TEXT] if isinstance(value, str) else None
