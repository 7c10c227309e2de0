"""What became of a prefix, as it is kept beside the dataset and shown on the report page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, Self

import numpy as np
from pydantic import Field, JsonValue

from kinema_dataset.records import Record

MAX_EXAMPLES: Final = 6
"""Examples of each outcome."""
KEPT: Final = "kept"
BINS: Final = 24
Count = Annotated[int, Field(ge=0)]


class Histogram(Record):
    """How a measure is distributed over the clips that were kept: `counts[i]` lie from `edges[i]` to `edges[i + 1]`."""

    name: str
    unit: str
    edges: tuple[float, ...]
    counts: tuple[Count, ...]
    low: float
    middle: float
    high: float
    """5th, 50th and 95th percentile."""

    @classmethod
    def of(cls, name: str, unit: str, values: Sequence[float]) -> Self:
        """The histogram of some values, at least one. What lies far outside of the others widens the outer bins."""
        found = np.asarray(values, np.float64)
        low, middle, high = (float(one) for one in np.percentile(found, (5, 50, 95)))
        first, last = max(found.min(), low - (high - low)), min(found.max(), high + (high - low))
        last = last if last > first else first + max(abs(first) * 0.01, 1e-6)
        counts, edges = np.histogram(np.clip(found, first, last), BINS, (first, last))
        return cls(
            name=name,
            unit=unit,
            edges=tuple(float(f"{edge:.6g}") for edge in edges),
            counts=tuple(map(int, counts)),
            low=low,
            middle=middle,
            high=high,
        )


class ShownExample(Record):
    """A clip or a file on the report page."""

    outcome: str
    """Kept, or the reason that dropped it."""
    where: str
    sentence: str
    jpeg: str = ""
    """A frame as a JPEG in base64; empty: there is none."""


class Summary(Record):
    """Everything that is told of preparing one prefix; the fields of the dataset are those of PreparedDataset."""

    format: Literal["kinema-prepared/1"] = "kinema-prepared/1"
    uri: str
    run: str
    """The run of the training that prepared it first."""
    prefix: str = ""
    digest: str = ""
    """Both empty: no clip was left."""
    samples: Count = 0
    inputs: Count = 0
    seconds: float = 0.0
    bytes: Count = 0
    dropped: dict[str, Count] = Field(default_factory=dict)
    found: dict[str, Count] = Field(default_factory=dict)
    """Inputs by kind."""
    clips: Count = 0
    """Clips that were looked at."""
    captions: dict[str, Count] = Field(default_factory=dict)
    """Kept clips by where their captions come from."""
    remarks: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Sentences about files and captions, by reason; the first ones of each."""
    remarked: dict[str, Count] = Field(default_factory=dict)
    """How many there are of each."""
    examples: tuple[ShownExample, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    requests: Count = 0
    prompt_tokens: Count = 0
    answer_tokens: Count = 0
    uncaptioned: dict[str, Count] = Field(default_factory=dict)
    """Why the captioner gave no caption."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)

    def dataset(self, run: str) -> Mapping[str, object]:
        """The fields of a PreparedDataset, as `run` sees it."""
        told = self.model_dump(include={"uri", "prefix", "digest", "samples", "inputs", "seconds", "bytes", "dropped"})
        return {**told, "reused": self.run != run}
