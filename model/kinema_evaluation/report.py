"""What an evaluation finds, as data: every figure with its interval, its floor, its chance and what it means."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from kinema_world import Video, WorldConfig

Unit = Literal["share", "ratio", "distance", "difference"]
Better = Literal["higher", "lower"]


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
    `controls` what simple rules score on the same clips. `unreadable` counts answers that could not be told from
    pixels; they are part of the score, as wrong.
    """

    name: str
    group: str = ""
    meaning: str
    score: Score
    floor: Score | None = None
    chance: float | None = None
    controls: dict[str, Score] = Field(default_factory=dict)
    unreadable: int = 0
    bar: float | None = None
    better: Better = "higher"
    unit: Unit = "share"

    @property
    def reached(self) -> bool | None:
        """Whether the score is at least as good as its bar; None without a bar."""
        if self.bar is None:
            return None
        return self.score.value >= self.bar if self.better == "higher" else self.score.value <= self.bar


class Curve(_Data):
    """A figure `y` at each amount `x` of something, and the same figure of what it is held against."""

    name: str
    across: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    beside: dict[str, tuple[float, ...]] = Field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReportClip:
    """A clip uint8 (T, H, W, 3) to look at, whether it was right where that was judged, and how fast to show it."""

    label: str
    video: Video
    good: bool | None = None
    fps: float = 8.0


@dataclass(frozen=True, eq=False)
class ContactSheet:
    """Clips that are looked at together."""

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
    """What was evaluated: the clip that it was asked for, and the world it is judged by."""

    preset: str
    tasks: tuple[str, ...]
    frames: int
    height: int
    width: int
    fps: int
    world: WorldConfig
    world_known: bool


class Report(_Data):
    """All sections that apply, by name, and for the others one line why they do not."""

    subject: Subject
    clips: int
    seed: int
    steps: int
    guidance_scale: float
    beside: tuple[str, ...] = ()
    sections: dict[str, Section]
    absent: dict[str, str]
