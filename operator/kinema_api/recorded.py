"""Recorded clips as training data: where they lie, where their captions come from, and what drops a clip.

The thresholds are those of `kinema_dataset.thresholds`, which the control plane cannot import.
"""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from kinema_api.base import MESSAGE_ERROR, ApiModel, DoesNotMatch, Matches, SecretName, cel_rules
from kinema_api.prefix_uri import PrefixUri

MAX_PREFIXES: Final = 8
"""Most prefixes of one training: each is named in the session policy of the pods that read it."""

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1000)]

BRIGHTNESS_CROSSED: Final = "minBrightness must be less than maxBrightness: lower minBrightness"
MOTION_CROSSED: Final = "minMotion must be less than maxMotion: lower minMotion"


class CaptionEndpoint(ApiModel):
    """A vision model behind an OpenAI-compatible API that captions clips which have no caption of their own."""

    url: Annotated[
        str,
        Field(max_length=1024),
        Matches(
            r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?$",
            "an endpoint's url is http(s)://HOST[:PORT][/PATH], without user, key or query: correct it",
        ),
    ]
    """Base address, such as http://captioner.models.svc:8000/v1."""
    model: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the model at the endpoint."""
    prompt: Annotated[str, Field(min_length=1, max_length=8192)] | None = None
    """What the model is asked; default: for a short and a rich caption."""
    secret_ref: SecretName | None = None
    """Secret in the same namespace with the endpoint's key as `apiKey`; default: no key is sent."""


class ClipCaptions(ApiModel):
    """Where the captions of clips come from."""

    endpoint: CaptionEndpoint | None = None
    """Captions clips that have none in NAME.txt, NAME.json, metadata.jsonl or metadata.csv; default: such clips are
    dropped."""


class ClipFilters(ApiModel):
    """What drops a clip. A clip that is dropped is counted in the report with its reason."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            ("self.minBrightness < self.maxBrightness", BRIGHTNESS_CROSSED),
            ("self.minMotion < self.maxMotion", MOTION_CROSSED),
        )
    )

    min_frames: Annotated[int, Field(ge=1, le=2000)] = 8
    """Shortest clip in frames."""
    max_letterbox: Share = 0.5
    """Largest share of a frame that bars may cover; smaller bars are cropped."""
    min_brightness: Share = 0.08
    """Least mean luma: 0 is black, 1 is white."""
    max_brightness: Share = 0.95
    """Greatest mean luma."""
    max_stillness: Share = 0.6
    """Largest share of frames that repeat the frame before."""
    min_motion: Share = 0.001
    """Least movement per frame, as a share of the shorter side."""
    max_motion: Share = 0.2
    """Greatest movement per frame, as a share of the shorter side."""
    min_sharpness: Share = 0.4
    """Least sharpness: 0 is blurred."""
    max_text: Share = 0.004
    """Largest share of the frame that overlaid text may cover."""
    duplicates: bool = False
    """Keep near-duplicates of other clips."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_brightness >= self.max_brightness:
            raise PydanticCustomError(MESSAGE_ERROR, BRIGHTNESS_CROSSED)
        if self.min_motion >= self.max_motion:
            raise PydanticCustomError(MESSAGE_ERROR, MOTION_CROSSED)
        return self


class RecordedClips(ApiModel):
    """Videos, images and WebDataset tars below one prefix."""

    uri: Annotated[
        PrefixUri,
        DoesNotMatch(
            r"""[*?$"\\]""",
            "the uri of clips holds no *, ?, $, quotation marks and backslashes, since storage keys are limited to it: "
            "rename the folder",
        ),
    ]
    """s3://BUCKET/PREFIX/ in the training's store. In the operator's own store, only prefixes below inputs/NAMESPACE/
    and shared/ are allowed."""
    captions: ClipCaptions = ClipCaptions()
    """Where captions come from; default: the files beside the clips alone."""
    weight: Weight = 1
    """Sampling weight against the other prefixes and the world."""
    filters: ClipFilters = ClipFilters()
    """What drops a clip."""
