"""The report as files: whole, self-contained, well formed, and true to the figures."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema_evaluation import ContactSheet, Curve, Report, ReportClip, Row, Score, Section
from kinema_evaluation.plan import SEEN
from kinema_evaluation.report import Subject
from kinema_jobs.evaluate.report import HTML_FILE, JSON_FILE, Identity, Origin, document, write_report
from kinema_jobs.evaluate.report.words import figure, verdict
from kinema_world import World

VOID = {"meta", "img", "source", "line", "circle", "path", "polyline"}


def score(value: float) -> Score:
    return Score(value=value, low=max(0.0, value - 0.1), high=value + 0.05, clips=20)


def row(value: float, **fields: object) -> Row:
    return Row.model_validate({"name": "colour", "group": SEEN, "meaning": "what", "score": score(value), **fields})


def captions() -> Section:
    clip = np.random.default_rng(0).integers(0, 255, (6, 16, 24, 3), dtype=np.uint8)
    shown = (ReportClip("a <b>red</b> square", clip, True), ReportClip("no verdict", clip))
    return Section(
        title="Captions",
        question="Is it <what> was asked?",
        rows=(row(0.8, floor=score(0.98), chance=1 / 6, unreadable=2, controls={"a rule": score(0.3)}),),
        remarks=("Only & little.",),
        sheets=(ContactSheet("Clips", shown),),
    )


def tasks() -> Section:
    return Section(
        title="Tasks",
        question="?",
        rows=(row(7.0, unit="ratio", better="lower", bar=2.0), row(1.0, name="given frames", bar=1.0)),
        curves=(Curve(name="distance", across="blur", x=(0.0, 0.5, 1.0), y=(0.1, 0.4, 0.9)),),
    )


def drift() -> Section:
    over_time = Curve(
        name="right over time",
        across="seconds",
        x=(0.0, 30.0, 60.0),
        y=(1.0, 0.9, 0.7),
        beside={"true clips": (1.0, 1.0, 1.0), "frozen": (1.0, 0.0, 0.0), "looped": (1.0, 0.0, 0.0)},
    )
    return Section(
        title="Drift",
        question="?",
        rows=(
            row(0.9, name="everything", group="", controls={"frozen": score(0.0)}),
            row(0.4, name="attributes, last 10 s", group=""),
        ),
        curves=(over_time,),
    )


def ablations() -> Section:
    change = Score(value=-0.125, low=-0.25, high=-0.05, clips=20)
    return Section(
        title="Choices",
        question="?",
        rows=(
            row(0.5, name="everything", group="4x"),
            row(0.5, name="everything", group="48 x 32 px"),
            row(0.0, name="more than this model", group="4x", unit="difference").model_copy(update={"score": change}),
        ),
    )


@pytest.fixture
def report() -> Report:
    world = World.fixed(0, 6, 16, 24, 8).config
    subject = Subject(
        preset="tiny", tasks=("text",), frames=6, height=16, width=24, fps=8, world=world, world_known=False
    )
    return Report(
        subject=subject,
        clips=20,
        seed=0,
        steps=4,
        guidance_scale=2.0,
        beside=("4x",),
        sections={"captions": captions(), "tasks": tasks(), "drift": drift(), "ablations": ablations()},
        absent={"permanence": "Nothing is hidden."},
    )


class Outline(HTMLParser):
    """Open tags, those closed in the wrong order, all attributes that fetch something, and the visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.fetched: list[str] = []
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_well_formed_and_needs_nothing_from_outside(report: Report, tmp_path: Path) -> None:
    write_report(report, Origin("/models/my <model>", "sha256:0", 3.0), tmp_path)
    html = (tmp_path / HTML_FILE).read_text()
    outline = Outline()
    outline.feed(html)
    assert (outline.open, outline.wrong) == ([], [])
    assert not outline.tags & {"script", "link", "iframe", "object"}
    assert all(one.startswith(("data:image/webp;base64,", "#")) for one in outline.fetched)
    assert "url(" not in html
    assert "@import" not in html
    assert 'name="viewport"' in html
    assert "prefers-color-scheme:dark" in html
    for words in (
        "my <model>",
        "a <b>red</b> square",
        "Is it <what> was asked?",
        "Only & little.",
        "Nothing is hidden.",
    ):
        assert words in outline.text


def test_every_figure_is_on_the_page(report: Report, tmp_path: Path) -> None:
    write_report(report, Origin("model", None, 3.0), tmp_path)
    outline = Outline()
    outline.feed((tmp_path / HTML_FILE).read_text())
    for words in ("80.0 %", "70.0 % to 85.0 %", "true clips 98.0 %", "chance 16.7 %", "a rule 30.0 %", "1 of 2"):
        assert words in outline.text, words
    assert "2 answers could not be read" in outline.text


def test_a_curve_has_a_line_and_a_key_for_all_that_stands_beside_it(report: Report, tmp_path: Path) -> None:
    write_report(report, Origin("model", None, 3.0), tmp_path)
    html = (tmp_path / HTML_FILE).read_text()
    plot = html[html.index('<figure class="curve broad">') :].split("</figure>")[0]
    drawn, key = plot.split("<figcaption>")
    assert [drawn.count(f'class="{style}"') for style in ("model", "truth", "rule0", "rule1")] == [1, 1, 1, 1]
    for name in ("this model", "true clips", "frozen", "looped"):
        assert f"{name}</span>" in key
    assert 'class="model" points="44.0,10.0' in drawn


def test_a_difference_stands_around_the_middle_and_says_which_way(report: Report, tmp_path: Path) -> None:
    write_report(report, Origin("model", None, 3.0), tmp_path)
    html = (tmp_path / HTML_FILE).read_text()
    dot = re.search(r'aria-label="more than this model: -12.5 %".*?class="dot plain" cx="([\d.]+)%"', html)
    assert dot is not None
    assert 2 < float(dot[1]) < 50
    assert '<small class="plain">less</small>' in html


def test_the_summary_has_the_first_figures_of_each_section_and_no_more(report: Report) -> None:
    origin = Origin("model", None, 3.0, {"4x": Identity("/models/4x", "sha256:4")})
    summary = document(report, origin)
    assert {name: entry["accuracy"] for name, entry in summary["summary"].items()} == {
        "drift: everything": 0.9,
        "drift: attributes, last 10 s": 0.4,
        "ablations: everything, 4x": 0.5,
    }
    assert summary["models_beside"] == {"4x": {"folder": "/models/4x", "digest": "sha256:4"}}


def test_pictures_are_the_clips(report: Report, tmp_path: Path) -> None:
    write_report(report, Origin("model", None, 3.0), tmp_path)
    uris = re.findall(r"data:image/webp;base64,([^\"]+)", (tmp_path / HTML_FILE).read_text())
    pictures = [Image.open(io.BytesIO(base64.b64decode(uri))) for uri in uris]
    sizes = [picture.size for picture in pictures]
    assert sizes.count((24, 16)) == 4
    assert sizes.count((6 * 25 - 1, 16)) == 2
    moving = [picture for picture in pictures if getattr(picture, "n_frames", 1) == 6]
    assert len(moving) == 2
    strip = next(picture for picture in pictures if picture.width > 24)
    shown = report.sections["captions"].sheets[0].shown[0].video
    assert np.array_equal(np.asarray(strip.convert("RGB"))[:, :24], shown[0])


def test_json_holds_the_report_and_the_summary(report: Report, tmp_path: Path) -> None:
    write_report(report, Origin("model", None, 3.0), tmp_path / "new")
    document = json.loads((tmp_path / "new" / JSON_FILE).read_text())
    assert document["attributes"]["colour"] == {
        "accuracy": 0.8,
        "low": pytest.approx(0.7),
        "high": pytest.approx(0.85),
        "chance": pytest.approx(1 / 6),
        "parser_accuracy": 0.98,
    }
    again = Report.model_validate({name: document[name] for name in Report.model_fields})
    assert again.sections["tasks"] == report.sections["tasks"]
    assert again.sections["captions"].rows == report.sections["captions"].rows


@pytest.mark.parametrize(
    ("one", "grade"),
    [
        (row(0.97, floor=score(0.98), chance=0.2), "good"),
        (row(0.6, floor=score(0.98), chance=0.2), "fair"),
        (row(0.3, floor=score(0.98), chance=0.25), "poor"),
        (row(0.4, floor=score(0.98)), "poor"),
        (row(1.9, bar=2.0, better="lower", unit="ratio"), "good"),
        (row(2.1, bar=2.0, better="lower", unit="ratio"), "poor"),
        (row(0.3, floor=score(0.2), better="lower", unit="distance"), "good"),
        (row(3.0, floor=score(0.2), better="lower", unit="distance"), "fair"),
        (row(0.05, unit="difference"), "plain"),
    ],
)
def test_verdicts(one: Row, grade: str) -> None:
    assert verdict(one)[0] == grade


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (1.0, "share", "100 %"),
        (0.005, "share", "0.5 %"),
        (12.34, "ratio", "12.3"),
        (0.0, "distance", "0"),
        (0.031, "difference", "+3.1 %"),
    ],
)
def test_figures(value: float, unit: str, words: str) -> None:
    assert figure(value, unit) == words
