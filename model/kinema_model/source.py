"""The data of a training behind one protocol: the synthetic world is one source, recorded clips are another.

A sample is identified by its position alone, so a training that was stopped or resized continues with the clips that
follow, and no process keeps a record of the clips it has used.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Shape(Protocol):
    """Size of a clip: frames, pixels, and frames per second."""

    @property
    def frames(self) -> int:
        """Frames of the clip."""
        ...

    @property
    def height(self) -> int:
        """Rows of a frame in pixels."""
        ...

    @property
    def width(self) -> int:
        """Columns of a frame in pixels."""
        ...

    @property
    def fps(self) -> float:
        """Frames per second."""
        ...


@dataclass(frozen=True)
class Captions:
    """The captions of a clip: a short one, a rich one, and one for each shot."""

    short: str
    rich: str
    shots: tuple[str, ...]

    def then(self, other: "Captions") -> "Captions":
        """The captions of a clip that blends from this clip into another."""
        short, rich = f"{self.short}, then {other.short}", f"{self.rich} Then {other.rich}"
        return Captions(short, rich, (*self.shots, *other.shots))

    def and_back(self) -> "Captions":
        """The captions of a clip that ends with the frame that it began with."""
        return Captions(f"{self.short} and back", f"{self.rich} Then it all goes back.", self.shots)


@dataclass(frozen=True)
class Clip:
    """A clip of the data: pixels uint8 (T, H, W, 3), frames per second, and captions.

    `starts` are the first frames of its shots, beginning with 0, as many as `captions.shots`.
    """

    video: Tensor
    fps: float
    captions: Captions
    starts: tuple[int, ...] = (0,)


class Source(Protocol):
    """Clips by position: 0, 1, 2 and so on without end; a source with fewer clips than that repeats them.

    All answers are functions of the position alone: the same in every process, at every time.
    """

    @property
    def digest(self) -> str:
        """`sha256:...` of what fixes its clips and their order: sources of one digest give the same clips."""
        ...

    def shape(self, index: int) -> Shape:
        """The shape of the clip at a position, for planning; cheaper than the clip."""
        ...

    def largest_shapes(self) -> Sequence[Shape]:
        """Shapes among which, for every patch size, is one with as many tokens as its largest clip."""
        ...

    def clips(self, indices: Sequence[int]) -> Sequence[Clip]:
        """The clips at these positions, on the CPU, each of its own shape."""
        ...

    def validation(self, count: int) -> Sequence[Clip]:
        """Clips like its own that no position has; the same for all sources of this kind and these shapes."""
        ...

    def texts(self) -> Iterable[str]:
        """Texts that together contain every word of its captions."""
        ...

    def files(self) -> Mapping[str, str]:
        """Text files by name that are stored beside a model's weights and describe its training data."""
        ...
