"""The page for people: what each number means, how good it is and where it falls short, in one file, no scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Final

from kinema_evaluation import Report, Row, Section
from kinema_jobs.evaluate.report.pictures import sheet_html
from kinema_jobs.evaluate.report.plots import curve_plot, track
from kinema_jobs.evaluate.report.style import CSS
from kinema_jobs.evaluate.report.words import figure, headline, interval, subject_line, verdict

_LEGEND: Final = (
    ('<circle class="dot good" cx="11" cy="8" r="6"/>', "the model's score, with the range of 95 % of resamples"),
    ('<line class="floor" x1="11" x2="11" y1="0" y2="16"/>', "the same measure on true clips: as good as can be told"),
    ('<line class="chance" x1="11" x2="11" y1="0" y2="16"/>', "chance: what ignoring the request would score"),
    ('<line class="bar" x1="11" x2="11" y1="0" y2="16"/>', "the bar that is to be reached"),
    ('<circle class="control" cx="11" cy="8" r="4"/>', "simple rules on the same clips"),
)


def page(report: Report, name: str, digest: str | None, seconds: float) -> str:
    """The whole page as HTML, with all styles, plots and pictures in it."""
    sections = "".join(_section(key, section) for key, section in report.sections.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Evaluation of {escape(name)}</title><style>{CSS}</style></head><body><main>"
        f"{_head(report, name, digest, seconds)}{sections}{_absent(report)}</main></body></html>\n"
    )


def _head(report: Report, name: str, digest: str | None, seconds: float) -> str:
    cards = "".join(_headline(key, section) for key, section in report.sections.items())
    marks = "".join(f'<li><svg aria-hidden="true">{drawing}</svg>{words}</li>' for drawing, words in _LEGEND)
    made = f"{report.clips} clips of each group, {report.steps} denoising steps, guidance {report.guidance_scale:g}"
    return (
        f'<header><p class="soft">Kinema evaluation</p><h1>{escape(name)}</h1>'
        f'<p class="lead">{escape(subject_line(report))}</p>'
        f'<nav class="cards" aria-label="Sections">{cards}</nav>'
        "<p>Everything here is read from pixels, by a reader that knows nothing of what was asked. What it cannot "
        "read counts as wrong. Clips are of scenes and seeds that no training used.</p>"
        f'<ul class="legend">{marks}</ul>'
        f'<p class="soft">{made}, seed {report.seed}; {seconds:.0f} s'
        f"{f'; {escape(digest)}' if digest else ''}.</p></header>"
    )


def _headline(key: str, section: Section) -> str:
    grade, value, words = headline(key, section)
    return (
        f'<a href="#{key}">{escape(section.title)}<b class="{grade}">{escape(value)}</b>'
        f'<span class="soft">{escape(words)}</span></a>'
    )


def _section(key: str, section: Section) -> str:
    rows = "".join(_group(name, list(of)) for name, of in groupby(section.rows, key=lambda row: row.group))
    curves = "".join(curve_plot(curve) for curve in section.curves)
    sheets = "".join(sheet_html(sheet) for sheet in section.sheets)
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in section.remarks)
    parts = [
        f'<section id="{key}"><h2>{escape(section.title)}</h2><p class="lead">{escape(section.question)}</p>',
        rows,
    ]
    if curves:
        parts.append(f'<h3>How the figures change</h3><div class="curves">{curves}</div>')
    if remarks:
        parts.append(f"<h3>Where this falls short</h3><ul>{remarks}</ul>")
    parts += [sheets, _table(section.rows), "</section>"]
    return "".join(parts)


def _group(name: str, rows: Sequence[Row]) -> str:
    title = f"<h3>{escape(name[:1].upper() + name[1:])}</h3>" if name else ""
    return title + "".join(_row(row) for row in rows)


def _row(row: Row) -> str:
    grade, words = verdict(row)
    return (
        f'<div class="row"><div>{escape(row.name)}<small class="{grade}">{words}</small></div>{track(row, grade)}'
        f'<div class="value"><b>{figure(row.score.value, row.unit)}</b>'
        f"<small>{interval(row.score, row.unit)}</small></div>"
        f'<p class="means">{escape(row.meaning)}.{escape(_against(row))}</p></div>'
    )


def _against(row: Row) -> str:
    """What the score is held against, in words."""
    parts = []
    if row.floor is not None:
        parts.append(f"true clips {figure(row.floor.value, row.unit)}")
    if row.chance is not None:
        parts.append(f"chance {figure(row.chance, row.unit)}")
    if row.bar is not None:
        parts.append(f"bar {'at least' if row.better == 'higher' else 'at most'} {figure(row.bar, row.unit)}")
    parts += [f"{name} {figure(score.value, row.unit)}" for name, score in row.controls.items()]
    if row.unreadable:
        parts.append(f"{row.unreadable} answers could not be read")
    return f" Beside it: {', '.join(parts)}." if parts else ""


def _table(rows: Sequence[Row]) -> str:
    head = "".join(
        f"<th>{word}</th>" for word in ("", "group", "score", "95 %", "true clips", "chance", "bar", "clips")
    )
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(row)) + "</tr>" for row in rows)
    return (
        f'<details><summary>All figures</summary><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></details>"
    )


def _cells(row: Row) -> Iterator[str]:
    yield row.name
    yield row.group
    yield figure(row.score.value, row.unit)
    yield interval(row.score, row.unit)
    for value in (row.floor.value if row.floor else None, row.chance, row.bar):
        yield "" if value is None else figure(value, row.unit)
    yield str(row.score.clips)


def _absent(report: Report) -> str:
    if not report.absent:
        return ""
    items = "".join(
        f"<li><b>{escape(name.capitalize())}</b>: {escape(why)}</li>" for name, why in report.absent.items()
    )
    return f'<section id="absent"><h2>Not measured</h2><ul>{items}</ul></section>'
