"""manifest.json: what a checkpoint, a model or a report consists of. It comes last: what has none does not exist."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError

from kinema_api.base import ApiModel
from kinema_api.errors import BrokenManifest

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ManifestFile(ApiModel):
    """One file, named relative to the manifest's folder."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.][A-Za-z0-9_.-]*$", max_length=255)]
    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Manifest(ApiModel):
    """Every file of a checkpoint, an exported model or the report on one, and what it belongs to.

    A report's round, step, world size and samples are those of its model.
    """

    kind: Literal["checkpoint", "model", "evaluation"]
    files: tuple[ManifestFile, ...]
    run: int
    attempt: int
    round: int
    step: int
    world_size: int
    samples: int
    """Position in the data: sample ids below this have been used."""
    created: datetime

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, so that a digest of it means something."""
        return json.dumps(self.to_wire(), sort_keys=True, separators=(",", ":")).encode()

    def digest(self) -> str:
        """`sha256:<hex>` of the canonical JSON; the digest of a model is that of its manifest."""
        return "sha256:" + hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Self:
        """Read a manifest; `where` names it in the error.

        Raises:
            BrokenManifest: if it is not a manifest.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise BrokenManifest(
                f"{where} is not a readable manifest ({reason}); use an older checkpoint or publish again"
            ) from None
