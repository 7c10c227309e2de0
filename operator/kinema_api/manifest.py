"""manifest.json: the files of a checkpoint, a model or a report. It is written last; without it they do not exist.

The manifest of a folder of open weights names nothing of a training, so equal files have equal digests everywhere.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from kinema_api.base import MESSAGE_ERROR, ApiModel
from kinema_api.errors import BrokenManifest, ObjectTooLarge
from kinema_api.objectstore import ObjectStore

MAX_FILES: Final = 10_000
"""Most files that a manifest may name."""
MAX_MANIFEST_BYTES: Final = 4 << 20
"""Longest manifest that is read: MAX_FILES files with long names fit."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


_PART: Final = r"\.*[A-Za-z0-9_][A-Za-z0-9_.-]*"
"""A file's or folder's name: neither . nor .., and nothing that a shell or a URL reads otherwise."""


class ManifestFile(ApiModel):
    """One file, named relative to the manifest's folder: in the folder itself, or below it as in vae/config.json."""

    name: Annotated[str, Field(pattern=rf"^{_PART}(/{_PART})*$", max_length=255)]
    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


_TRAINED: Final = frozenset({"run", "attempt", "round", "step", "world_size", "samples", "created"})
"""What a training's manifests tell beside their files."""


class Manifest(ApiModel):
    """Every file of a checkpoint, a model or a report, and the attempt and step that they belong to.

    A report's round, step, world size and samples are those of its model. What no training wrote leaves them at 0.
    """

    kind: Literal["checkpoint", "model", "evaluation"]
    files: Annotated[tuple[ManifestFile, ...], Field(max_length=MAX_FILES)]
    run: int = 0
    attempt: int = 0
    round: int = 0
    step: int = 0
    world_size: int = 0
    samples: int = 0
    """Position in the data: samples with lower ids have been used."""
    created: datetime = datetime.fromtimestamp(0, UTC)

    @model_validator(mode="after")
    def _of_a_training(self) -> Self:
        missing = sorted(_TRAINED - self.model_fields_set)
        if self.kind != "model" and missing:
            raise PydanticCustomError(MESSAGE_ERROR, f"the manifest of a {self.kind} lacks {', '.join(missing)}")
        return self

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
