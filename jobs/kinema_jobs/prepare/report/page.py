"""The page in one file without scripts; the layout is in templates/, its look is that of evaluation reports.

Jinja escapes every value: names of files and captions are chosen by strangers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from kinema_jobs.prepare.report.words import as_in_spec, duration, figure, meaning, share, size
from kinema_jobs.prepare.summary import KEPT, Histogram, ShownExample, Summary

WIDTH, HEIGHT = 240.0, 72.0
"""Of a histogram, in its own units."""
_PAGES: Final = Environment(
    loader=ChoiceLoader([PackageLoader("kinema_jobs.prepare.report"), PackageLoader("kinema_jobs.evaluate.report")]),
    autoescape=True,
    undefined=StrictUndefined,
)


@dataclass(frozen=True)
class Outcome:
    """A reason, or that clips are kept: how many, what it means, and examples."""

    name: str
    count: int
    share: str
    percent: float
    """Of the length of its bar."""
    meaning: str
    examples: tuple[ShownExample, ...]


@dataclass(frozen=True)
class Drawn:
    """A histogram as rectangles (x, y, width, height)."""

    name: str
    words: str
    bars: tuple[tuple[float, float, float, float], ...]
    low: str
    high: str


@dataclass(frozen=True)
class Section:
    """A prefix as the page has it."""

    key: str
    uri: str
    lead: str
    reused: bool
    digest: str
    folder: str
    kept: Outcome
    outcomes: tuple[Outcome, ...]
    drawn: tuple[Drawn, ...]
    captions: str
    remarks: tuple[tuple[str, int, tuple[str, ...]], ...]
    settings: tuple[tuple[str, str], ...]


def page(name: str, summaries: Sequence[Summary], run: str) -> str:
    """The whole page as HTML, with all styles, plots and pictures in it."""
    samples, seconds = sum(one.samples for one in summaries), sum(one.seconds for one in summaries)
    looked_at = sum(one.clips for one in summaries)
    cards = [
        ("clips kept", str(samples)),
        ("of clips cut", share(samples, looked_at)),
        ("length", duration(seconds)),
        ("stored", size(sum(one.bytes for one in summaries))),
    ]
    sections = [_section(f"prefix-{number}", one, run) for number, one in enumerate(summaries)]
    return _PAGES.get_template("prepared.html").render(
        name=name, cards=cards, sections=sections, width=WIDTH, height=HEIGHT
    )


def _section(key: str, of: Summary, run: str) -> Section:
    most = max([of.samples, *of.dropped.values(), 1])
    whole = of.samples + sum(of.dropped.values())
    examples: dict[str, list[ShownExample]] = {}
    for one in of.examples:
        told = one.model_copy(update={"sentence": as_in_spec(one.sentence)})
        examples.setdefault(one.outcome, []).append(told)

    def outcome(name: str, count: int) -> Outcome:
        shown = tuple(examples.get(name, ()))
        return Outcome(name, count, share(count, whole), round(100 * count / most, 2), meaning(name), shown)

    found = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in sorted(of.found.items()))
    dropped = sorted(of.dropped.items(), key=lambda entry: (-entry[1], entry[0]))
    return Section(
        key=key,
        uri=of.uri,
        lead=f"{found or 'Nothing'} came in and gave {of.clips} clips; {of.samples} are kept, from {of.inputs} files.",
        reused=of.run != run,
        digest=of.digest,
        folder=of.prefix,
        kept=outcome(KEPT, of.samples),
        outcomes=tuple(outcome(name, count) for name, count in dropped if count),
        drawn=tuple(map(_drawn, of.histograms)),
        captions=_captions(of),
        remarks=tuple((name, count, of.remarks.get(name, ())) for name, count in sorted(of.remarked.items())),
        settings=tuple(_rows(of.settings)),
    )


def _captions(of: Summary) -> str:
    """Where captions come from and what they cost, in a sentence or two."""
    words = ", ".join(f"{count} from {source}" for source, count in sorted(of.captions.items()) if count)
    told = f"{words[:1].upper()}{words[1:]}." if words else ""
    if of.requests:
        told += (
            f" The captioner was asked {of.requests} times and took {of.prompt_tokens} tokens for frames and prompts, "
            f"{of.answer_tokens} for answers."
        )
    if of.uncaptioned:
        told += " It gave none for: " + ", ".join(f"{why} {count}" for why, count in of.uncaptioned.items()) + "."
    return told


def _drawn(of: Histogram) -> Drawn:
    most = max([*of.counts, 1])
    wide = WIDTH / len(of.counts)
    bars = tuple(
        (
            round(number * wide, 2),
            round(HEIGHT * (1 - count / most), 2),
            round(wide - 1, 2),
            round(HEIGHT * count / most, 2),
        )
        for number, count in enumerate(of.counts)
    )
    unit = f" {of.unit}" if of.unit else ""
    words = f"half below {figure(of.middle)}{unit}, nine in ten from {figure(of.low)} to {figure(of.high)}"
    return Drawn(of.name, words, bars, figure(of.edges[0]), figure(of.edges[-1]))


def _rows(settings: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Settings as names with dots, and values."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield from _rows(value, f"{name}.{key}" if name else str(key))
    elif settings is not None:
        yield name, " x ".join(map(str, settings)) if isinstance(settings, list) else str(settings)
