"""Inputs of a generation: clips, images and masks, and which task takes which."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from kinema_api.base import ApiModel, Matches, ResourceName, cel_rules

TaskName = Literal["text", "picture", "image", "extend", "extend-back", "fill", "loop", "inpaint", "edit", "blend"]
"""The names of kinema_model.conditions.tasks.Task, which the control plane cannot import: it has no PyTorch."""

FROM_WORDS: Final = ("text", "picture")
ENDED_TASKS: Final = ("fill", "blend")
EXTENDING_TASKS: Final = ("extend", "extend-back")
WEAKENED_TASKS: Final = ("edit", "blend")

KEY_PART: Final = (
    r"([^/.\x00-\x1f\x7f][^/\x00-\x1f\x7f]*|\.[^/.\x00-\x1f\x7f][^/\x00-\x1f\x7f]*|\.\.[^/\x00-\x1f\x7f]+)"
)
"""One segment of an object key: not empty, no control characters, and neither . nor .. alone."""
InputUri = Annotated[
    str,
    Field(max_length=1024),
    Matches(
        rf"^s3://[a-z0-9][a-z0-9.-]*[a-z0-9]/{KEY_PART}(/{KEY_PART})*$",
        "an input's uri is s3://BUCKET/KEY: correct it; the parts of KEY are neither empty nor . or .., and hold no "
        "control characters",
    ),
]


def _one_of(*fields: str) -> str:
    return f"[{', '.join(f'has(self.{field})' for field in fields)}].filter(given, given).size() == 1"


MAX_INPUT_BYTES: Final = 256 << 20
"""A minute of H.264 at 30 Mbit/s."""


class Upload(ApiModel):
    """A file that the client uploads to the folder of this request, which waits for it; `kinema generate` does so."""

    sha256: Annotated[
        str,
        Field(max_length=64),
        Matches(r"^[0-9a-f]{64}$", "an upload's sha256 is 64 hex digits in lower case: correct it"),
    ]
    """SHA-256 digest of the file; a file with another digest is refused."""
    bytes: Annotated[int, Field(ge=1, le=MAX_INPUT_BYTES)]
    """Size in bytes."""


class ClipInput(ApiModel):
    """A clip or image: exactly one of the fields."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                _one_of("generation", "uri", "upload"),
                "an input has exactly one of generation, uri and upload: keep one",
            )
        )
    )

    generation: ResourceName | None = None
    """Name of a VideoGeneration in the same namespace; the request waits until it has succeeded."""
    uri: InputUri | None = None
    """s3://BUCKET/KEY of an MP4, WebM, PNG, JPEG, WebP or AVIF. In the operator's own store, only keys below
    inputs/NAMESPACE/ and generations/NAMESPACE/ are allowed."""
    upload: Upload | None = None
    """A file that is uploaded for this request alone and deleted when the request has ended."""


class Region(ApiModel):
    """A rectangle of pixels."""

    left: Annotated[int, Field(ge=0, le=9999)]
    """Distance of its left edge from the left edge of the frame, in pixels."""
    top: Annotated[int, Field(ge=0, le=9999)]
    """Distance of its top edge from the top edge of the frame, in pixels."""
    width: Annotated[int, Field(ge=1, le=9999)]
    """Width in pixels."""
    height: Annotated[int, Field(ge=1, le=9999)]
    """Height in pixels."""


class Mask(ApiModel):
    """The region to regenerate, the same in every frame: exactly one of the fields."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (_one_of("region", "uri", "upload"), "a mask has exactly one of region, uri and upload: keep one")
        )
    )

    region: Region | None = None
    """A rectangle of pixels."""
    uri: InputUri | None = None
    """s3://BUCKET/KEY of an image of the clip's size, white where the clip is to be regenerated; see input.uri."""
    upload: Upload | None = None
    """An image as for uri, uploaded for this request alone; see input.upload."""


def _among(tasks: tuple[str, ...]) -> str:
    return f"self.task in [{', '.join(repr(task) for task in tasks)}]"


TASK_RULES: Final = (
    (f"({_among(FROM_WORDS)}) || has(self.input)", "every task but text and picture needs an input: set input"),
    (
        f"!({_among(FROM_WORDS)}) || !has(self.input)",
        "text and picture take no input: remove it, or name a task such as extend",
    ),
    (f"({_among(ENDED_TASKS)}) == has(self.end)", "fill and blend need end, other tasks take none: set or remove end"),
    ("(self.task == 'inpaint') == has(self.mask)", "inpaint needs a mask, other tasks take none: set or remove mask"),
    (f"!has(self.strength) || {_among(WEAKENED_TASKS)}", "strength applies to edit and blend only: remove it"),
    (
        f"!has(self.inputSeconds) || {_among(EXTENDING_TASKS)}",
        "inputSeconds applies to extend and extend-back only: remove it",
    ),
)
"""CEL rules on the spec of a VideoGeneration."""
