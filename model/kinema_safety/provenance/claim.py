"""What is stated about a clip, as the JSON that c2pa-python makes a manifest of. Pure: no file, no clock, no key.

The assertions are those of the C2PA specification 2.1: `c2pa.actions.v2` with the source type of media made by a
trained model (IPTC), `c2pa.soft-binding` with the watermark, and one of our own, `org.kinema.generation`, with the
model's digest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from kinema_safety.watermark.payload import ID_BITS

MADE_BY_AI: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
WATERMARK_ALGORITHM: Final = "org.kinema.watermark.1"
GENERATION: Final = "org.kinema.generation"
ACTIONS: Final = "c2pa.actions.v2"
SOFT_BINDING: Final = "c2pa.soft-binding"
AGENT: Final = "Kinema"


@dataclass(frozen=True)
class Input:
    """A file that a clip was made from. What provenance it brings along is kept in the clip's own."""

    name: str
    """Its field of the request: input, end, mask."""
    path: Path
    mime: str


@dataclass(frozen=True)
class Claim:
    """What is stated about one clip."""

    title: str
    model_digest: str
    """sha256:... of the model's manifest."""
    made_at: datetime
    agent_version: str
    watermark_id: int | None = None
    """The id in its watermark, if it has one."""
    prompt: str | None = None
    """Only if the request asks for it: everybody who has the file can read it."""
    inputs: tuple[Input, ...] = field(default=())


def manifest(claim: Claim, readable: tuple[Input, ...], unreadable: tuple[str, ...] = ()) -> dict[str, Any]:
    """The manifest's definition; `readable` inputs become ingredients, of the others only the names are stated."""
    agent = {"name": AGENT, "version": claim.agent_version}
    action: dict[str, Any] = {
        "action": "c2pa.created",
        "digitalSourceType": MADE_BY_AI,
        "softwareAgent": agent,
        "when": f"{claim.made_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    if readable:
        action["parameters"] = {"ingredientIds": [one.name for one in readable]}
    generation: dict[str, Any] = {"modelDigest": claim.model_digest}
    if unreadable:
        generation["inputsWithoutIngredient"] = list(unreadable)
    if claim.prompt is not None:
        generation["prompt"] = claim.prompt
    assertions: list[dict[str, Any]] = [
        {"label": ACTIONS, "data": {"actions": [action]}},
        {"label": GENERATION, "data": generation},
    ]
    if claim.watermark_id is not None:
        assertions.append({"label": SOFT_BINDING, "data": soft_binding(claim.watermark_id)})
    return {"title": claim.title, "claim_generator_info": [agent], "assertions": assertions}


def soft_binding(watermark_id: int) -> dict[str, Any]:
    """The assertion that names the watermark, so that a stripped copy leads back to this manifest."""
    value = f"{watermark_id:0{ID_BITS // 4}x}"
    return {"alg": WATERMARK_ALGORITHM, "blocks": [{"scope": {}, "value": value}]}
