"""What a generation may be given beside words: clips, pictures and a mask, and which task takes which."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from kinema_api.base import ApiModel, ResourceName, Worded, cel_rules

TaskName = Literal["text", "picture", "image", "extend", "extend-back", "fill", "loop", "inpaint", "edit", "blend"]
"""The names of kinema_model.tasks.Task, which needs more than the control plane has."""

FROM_WORDS: Final = ("text", "picture")
ENDED_TASKS: Final = ("fill", "blend")
EXTENDING_TASKS: Final = ("extend", "extend-back")
WEAKENED_TASKS: Final = ("edit", "blend")

_KEY_PART: Final = (
    r"([^/.\x00-\x1f\x7f][^/\x00-\x1f\x7f]*|\.[^/.\x00-\x1f\x7f][^/\x00-\x1f\x7f]*|\.\.[^/\x00-\x1f\x7f]+)"
)
"""What may stand between two slashes of a key: something, no control characters, and neither . nor .. alone."""
InputUri = Annotated[
    str,
    Field(max_length=1024),
    Worded(
        rf"^s3://[a-z0-9][a-z0-9.-]*[a-z0-9]/{_KEY_PART}(/{_KEY_PART})*$",
        "an input's uri is s3://BUCKET/KEY: correct it; the parts of KEY are neither empty nor . or .., and hold no "
        "control characters",
    ),
]


def _one_of(*fields: str) -> str:
    return f"[{', '.join(f'has(self.{field})' for field in fields)}].filter(given, given).size() == 1"


MAX_INPUT_BYTES: Final = 256 << 20
"""A minute of H.264 at 30 Mbit/s."""


class Upload(ApiModel):
    """A file of whoever asks, which the request waits for: `kinema generate` uploads it to the request's own folder."""

    sha256: Annotated[
        str,
        Field(max_length=64),
        Worded(r"^[0-9a-f]{64}$", "an upload's sha256 is 64 hex digits in lower case: correct it"),
    ]
    """Digest of its bytes; others are not taken."""
    bytes: Annotated[int, Field(ge=1, le=MAX_INPUT_BYTES)]
    """Its length."""


class ClipInput(ApiModel):
    """A clip or picture: exactly one of the fields."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (
                _one_of("generation", "uri", "upload"),
                "give exactly one of generation, uri and upload for an input",
            )
        )
    )

    generation: ResourceName | None = None
    """A VideoGeneration of the same namespace; the request waits until it has succeeded."""
    uri: InputUri | None = None
    """s3://BUCKET/KEY of an MP4, WebM, PNG, JPEG, WebP or AVIF. In the operator's own store only what lies below
    inputs/NAMESPACE/ or generations/NAMESPACE/ can be named."""
    upload: Upload | None = None
    """A file that is uploaded for this request alone, and deleted when it has ended."""


class Region(ApiModel):
    """A box of pixels."""

    left: Annotated[int, Field(ge=0, le=9999)]
    """Columns left of it."""
    top: Annotated[int, Field(ge=0, le=9999)]
    """Rows above it."""
    width: Annotated[int, Field(ge=1, le=9999)]
    """Columns in it."""
    height: Annotated[int, Field(ge=1, le=9999)]
    """Rows in it."""


class Mask(ApiModel):
    """What of a clip is made anew, in every frame: exactly one of the fields."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            (_one_of("region", "uri", "upload"), "give exactly one of region, uri and upload for a mask")
        )
    )

    region: Region | None = None
    """A box of pixels."""
    uri: InputUri | None = None
    """s3://BUCKET/KEY of a picture of the clip's size, white where the clip is made anew; see input.uri."""
    upload: Upload | None = None
    """Such a picture, uploaded for this request alone; see input.upload."""


def _among(tasks: tuple[str, ...]) -> str:
    return f"self.task in [{', '.join(repr(task) for task in tasks)}]"


TASK_RULES: Final = (
    (f"({_among(FROM_WORDS)}) || has(self.input)", "every task but text and picture works on something: give input"),
    (
        f"!({_among(FROM_WORDS)}) || !has(self.input)",
        "text and picture take no input: remove it, or name a task such as extend",
    ),
    (f"({_among(ENDED_TASKS)}) == has(self.end)", "fill and blend lead from input to end, others take no end"),
    ("(self.task == 'inpaint') == has(self.mask)", "inpaint takes a mask of what to make anew, others take none"),
    (f"!has(self.strength) || {_among(WEAKENED_TASKS)}", "strength is for edit and blend: remove it"),
    (
        f"!has(self.inputSeconds) || {_among(EXTENDING_TASKS)}",
        "inputSeconds is for extend and extend-back: remove it",
    ),
)
"""CEL rules of a VideoGeneration's spec."""
