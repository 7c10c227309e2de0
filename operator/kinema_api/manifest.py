"""manifest.json: the files of a checkpoint, a model or a report. It is written last; without it they do not exist."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError

from kinema_api.base import ApiModel
from kinema_api.errors import BrokenManifest, ObjectTooLarge
from kinema_api.objectstore import ObjectStore

MAX_FILES: Final = 10_000
"""Most files that a manifest may name."""
MAX_MANIFEST_BYTES: Final = 4 << 20
"""Longest manifest that is read: MAX_FILES files with long names fit."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ManifestFile(ApiModel):
    """One file, named relative to the manifest's folder."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.][A-Za-z0-9_.-]*$", max_length=255)]
    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Manifest(ApiModel):
    """Every file of a checkpoint, an exported model or a report, and the attempt and step that they belong to.

    A report's round, step, world size and samples are those of its model.
    """

    kind: Literal["checkpoint", "model", "evaluation"]
    files: Annotated[tuple[ManifestFile, ...], Field(max_length=MAX_FILES)]
    run: int
    attempt: int
    round: int
    step: int
    world_size: int
    samples: int
    """Position in the data: samples with lower ids have been used."""
    created: datetime

    def to_bytes(self) -> bytes:
        """Canonical JSON (sorted keys, no spaces), so that equal manifests have equal digests."""
        return json.dumps(self.to_wire(), sort_keys=True, separators=(",", ":")).encode()

    def digest(self) -> str:
        """`sha256:<hex>` of the canonical JSON; the digest of a model is that of its manifest."""
        return "sha256:" + hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def read(cls, store: ObjectStore, key: str) -> Self:
        """Read the manifest at `key`. Blocks.

        Raises:
            ObjectMissing: there is none.
            BrokenManifest: it is not a manifest, or it is too long.
            StorageError: the store cannot be used now.
        """
        try:
            data = store.get(key, MAX_MANIFEST_BYTES)
        except ObjectTooLarge as error:
            raise BrokenManifest(str(error)) from None
        return cls.from_bytes(data, store.uri(key))

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
