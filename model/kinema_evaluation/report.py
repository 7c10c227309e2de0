"""The report of an evaluation as data: every score with its interval, floor, chance and meaning."""

from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from kinema_world import Video, WorldConfig

Unit = Literal["share", "ratio", "distance", "difference", "value"]
Better = Literal["higher", "lower"]


LEAST_LEAD: Final = 0.2
"""Shares by which truth must stand above a control that ignores its input, for a measure to tell anything."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True)


class Score(_Data):
    """A figure over `clips` clips; `low` and `high` bound 95 % of its resamples, None where it has no interval."""

    value: float
    low: float | None = None
    high: float | None = None
    clips: int


class Row(_Data):
    """One thing that was measured.

    `floor` is the same measure on true clips, `chance` what a model that ignores what it is asked would score, and
    `controls` what simple rules score on the same clips. `ignoring` is what a control scores on the same clips that
    ignores its input and fits the prompt. `unreadable` counts values that could not be read from pixels; they count as
    wrong in shares, and are left out of other scores.
    """

    name: str
    group: str = ""
    meaning: str
    score: Score
    floor: Score | None = None
    chance: float | None = None
    ignoring: Score | None = None
    controls: dict[str, Score] = Field(default_factory=dict)
    unreadable: int = 0
    bar: float | None = None
    better: Better = "higher"
    unit: Unit = "share"

    @property
    def void(self) -> bool:
        """Whether ignoring the input scores nearly as much as truth, so that the score tells nothing of a model."""
        if self.ignoring is None or self.unit != "share":
            return False
        return (self.floor.value if self.floor else 1.0) - self.ignoring.value < LEAST_LEAD

    @property
    def lead(self) -> float | None:
        """The score less that of ignoring the input, in shares; None where that was not measured."""
        if self.ignoring is None or self.unit != "share":
            return None
        return self.score.value - self.ignoring.value

    @property
    def reached(self) -> bool | None:
        """Whether the score is at least as good as its bar; None without a bar, and where it tells nothing."""
        if self.bar is None or self.void:
            return None
        return self.score.value >= self.bar if self.better == "higher" else self.score.value <= self.bar


class Curve(_Data):
    """A figure `y` at each amount `x`, and the same figure of what it is compared with."""

    name: str
    across: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    beside: dict[str, tuple[float, ...]] = Field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReportClip:
    """A clip uint8 (T, H, W, 3) on the page, its verdict (None: not judged), and its frames per second."""

    label: str
    video: Video
    good: bool | None = None
    fps: float = 8.0


@dataclass(frozen=True, eq=False)
class ContactSheet:
    """Clips that are shown together."""

    title: str
    shown: tuple[ReportClip, ...]


class Section(_Data):
    """One question with its figures. `remarks` say where they fall short."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    title: str
    question: str
    rows: tuple[Row, ...]
    curves: tuple[Curve, ...] = ()
    remarks: tuple[str, ...] = ()
    sheets: tuple[ContactSheet, ...] = Field(default=(), exclude=True)

    def row(self, name: str, group: str = "") -> Row:
        """The row of this name and group. Raises `KeyError` where there is none."""
        for row in self.rows:
            if (row.name, row.group) == (name, group):
                return row
        raise KeyError(f"{self.title} has no row {name!r} in {group!r}.")


class Subject(_Data):
    """What was evaluated: the shape of the model's clips, and its world."""

    preset: str
    tasks: tuple[str, ...]
    frames: int
    height: int
    width: int
    fps: int
    world: WorldConfig | None
    world_known: bool
    recorded: bool = False


class Report(_Data):
    """All sections that apply, by name, and for the others the reason in one line."""

    subject: Subject
    clips: int
    seed: int
    steps: int
    guidance_scale: float
    beside: tuple[str, ...] = ()
    sections: dict[str, Section]
    absent: dict[str, str]
