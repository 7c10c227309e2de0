"""The drawings of docs/: words stay inside their boxes, also in the widest font that a browser falls back to."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

DRAWINGS = sorted((Path(__file__).resolve().parents[3] / "docs").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
# Widths of characters in DejaVu Sans, as shares of the font's size, and how much wider its bold letters are.
WIDTHS = {0.32: "iIjl.,:;'|/· ", 0.40: "tfr-()*", 0.90: "mwMW"}
OTHERS, BOLD = 0.62, 1.1
LEFT = {"start": 0.0, "middle": 0.5, "end": 1.0}


@dataclass(frozen=True)
class Words:
    """A text with what it inherits."""

    text: str
    x: float
    y: float
    width: float
    anchor: str

    @property
    def span(self) -> tuple[float, float]:
        left = self.x - LEFT[self.anchor] * self.width
        return left, left + self.width


def width_of(text: str) -> float:
    return sum(next((width for width, those in WIDTHS.items() if letter in those), OTHERS) for letter in text)


def words(element: ElementTree.Element, inherited: dict[str, str]) -> Iterator[Words]:
    given = inherited | element.attrib
    if element.tag == f"{SVG}text":
        text = "".join(element.itertext())
        width = width_of(text) * float(given["font-size"]) * (BOLD if given.get("font-weight") == "600" else 1)
        yield Words(text, float(given["x"]), float(given["y"]), width, given.get("text-anchor", "start"))
    for child in element:
        yield from words(child, given)


def boxes(root: ElementTree.Element) -> list[tuple[float, float, float, float]]:
    """x, y, width and height of all rectangles; the first is the page."""
    return [
        (float(box.get("x", 0)), float(box.get("y", 0)), float(box.attrib["width"]), float(box.attrib["height"]))
        for box in root.iter(f"{SVG}rect")
    ]


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.name)
def test_words_stay_inside_the_box_that_they_are_in(drawing: Path) -> None:
    root = ElementTree.parse(drawing).getroot()
    outside = []
    for piece in words(root, {}):
        around = [b for b in boxes(root) if b[0] <= piece.x <= b[0] + b[2] and b[1] <= piece.y <= b[1] + b[3]]
        assert around, f"{piece.text!r} is off the page"
        left, _, width, _ = min(around, key=lambda box: box[2] * box[3])
        if piece.span[0] < left or piece.span[1] > left + width:
            outside.append(piece.text)
    assert outside == []


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.name)
def test_a_drawing_says_in_words_what_it_shows(drawing: Path) -> None:
    title = ElementTree.parse(drawing).getroot().find(f"{SVG}title")
    assert title is not None
    assert title.text
