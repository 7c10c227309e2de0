"""A folder of a bucket as specs name it, for clips to train on and for weights to serve."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kinema_api.base import Matches
from kinema_api.inputs import KEY_PART

PrefixUri = Annotated[
    str,
    Field(max_length=512),
    Matches(
        rf"^s3://[a-z0-9][a-z0-9.-]*[a-z0-9](/{KEY_PART})+/$",
        "a folder's uri is s3://BUCKET/PREFIX/ and ends in a slash: correct it; the parts of PREFIX are neither empty "
        "nor . or .., and hold no control characters",
    ),
]
"""A folder of a bucket."""


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    """(BUCKET, PREFIX/) of a `PrefixUri`."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return bucket, prefix
