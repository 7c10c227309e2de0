"""Preparing of recorded clips: its configuration, passed in argv as JSON, and the result that its pods leave."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from kinema_api import layout
from kinema_api.base import ApiModel, Digest
from kinema_api.recorded import MAX_PREFIXES, RecordedClips

MAX_RESULT_BYTES: Final = 1 << 20
"""Longest prepared.json that is read."""
ENV_WORKER: Final = "JOB_COMPLETION_INDEX"
"""Index of a worker, from 0, as the controller of an Indexed Job sets it."""
ENV_CAPTIONER_KEY_FILE: Final = "KINEMA_CAPTIONER_KEY_FILE"
"""File with the key of the captioning endpoint, alone in it."""
Count = Annotated[int, Field(ge=0)]


MAX_REASON: Final = 63
"""Longest name of a reason for which clips are left out."""


def _short_reasons(counts: dict[str, int]) -> dict[str, int]:
    if any(len(reason) > MAX_REASON for reason in counts):
        raise ValueError(f"a reason has at most {MAX_REASON} characters: shorten it")
    return counts


# A CRD cannot express bounds on the keys of a map.
Dropped = Annotated[dict[str, Count], Field(max_length=64), AfterValidator(_short_reasons)]
"""Counts of what was left out, by reason."""


class ClipTarget(ApiModel):
    """The shape that clips are packed to: their own aspect ratio and length, within these bounds."""

    frames: Annotated[int, Field(ge=1)]
    """Most frames of a clip; longer shots become several clips."""
    pixels: Annotated[int, Field(ge=1)]
    """Area of a frame (height x width); larger frames are scaled down to it, smaller ones are kept."""
    fps: Annotated[float, Field(gt=0)]
    """Frames per second, to which faster videos are reduced; slower ones are kept."""
    cell: tuple[int, int, int]
    """Frames, rows and columns of which the shape is a multiple, as `LatentGrid.cell`."""


class PrepareConfig(ApiModel):
    """Preparing of one run's prefixes; never changes during the run."""

    namespace: str
    name: str
    uid: str
    run: int
    videos: Annotated[tuple[RecordedClips, ...], Field(min_length=1, max_length=MAX_PREFIXES)]
    target: ClipTarget

    @property
    def datasets(self) -> str:
        """Key prefix below which datasets of this namespace lie, shared by its trainings."""
        return layout.datasets_prefix(self.namespace)

    @property
    def result(self) -> str:
        """Key of the result, a `PrepareResult`; written last."""
        return layout.run_prefix(self.namespace, self.name, self.uid, self.run) + layout.PREPARED


class PreparedDataset(ApiModel):
    """The dataset that one prefix became."""

    uri: Annotated[str, Field(max_length=512)]
    """The prefix that it was made of."""
    prefix: Annotated[str, Field(max_length=512)]
    """Key prefix of the dataset, ending in a slash; dataset.json lies there, its shards beside it: a reader must be
    allowed to read `layout.dataset_rights(prefix)`."""
    digest: Digest
    samples: Count
    """Clips."""
    inputs: Count
    """Files that gave at least one clip."""
    seconds: Annotated[float, Field(ge=0)]
    """Length of all clips together."""
    bytes: Count
    """Bytes of all clips as they are stored."""
    dropped: Dropped = Field(default_factory=dict)
    """Clips and files that were left out, by reason."""
    reused: bool = False
    """Whether it existed already."""


class PrepareResult(ApiModel):
    """prepared.json: one dataset for each prefix, in the order of the spec."""

    datasets: Annotated[tuple[PreparedDataset, ...], Field(min_length=1, max_length=MAX_PREFIXES)]
    report: Annotated[str, Field(max_length=512)]
    """Key of the report page."""


class PrepareProgress(ApiModel):
    """GET /progress of a preparing pod: how far it is with one of the prefixes."""

    stage: Literal["listing", "preparing", "joining", "done"] = "listing"
    uri: Annotated[str, Field(max_length=512)] = ""
    """The prefix that is being prepared."""
    done: Count = 0
    """Its files, and parts of long videos, that are prepared, whoever prepared them."""
    total: Count = 0


class RunDataset(ApiModel):
    """A dataset that a trainer reads, and its sampling weight."""

    prefix: str
    digest: Digest
    weight: float
