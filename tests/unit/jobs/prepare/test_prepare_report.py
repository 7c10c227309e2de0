"""The page tells what came in, what was kept and why the rest was not, and shows strangers' names as text."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from kinema_dataset.records import Filter
from kinema_jobs.prepare.report import page
from kinema_jobs.prepare.report.words import MEANINGS, as_in_spec, duration, size
from kinema_jobs.prepare.summary import BINS, Histogram, ShownExample, Summary

SUMMARY = Summary(
    uri="s3://bucket/videos/",
    run="trainings/team/pets/u1/run-001/",
    prefix="datasets/team/0a/0b/",
    digest="sha256:" + "0" * 64,
    samples=3,
    inputs=2,
    seconds=7.5,
    bytes=5 << 20,
    dropped={"text": 2, "HDR": 1},
    found={"video": 3, "tar": 1},
    clips=5,
    captions={"files": 2, "captioner": 1},
    examples=(
        ShownExample(outcome="kept", where="s3://bucket/videos/a.mp4", sentence="a fox", jpeg="AAAA"),
        ShownExample(outcome="text", where="b", sentence="overlaid text covers 0.2, above 0.004 (max_text)"),
    ),
    histograms=(Histogram.of("length", "s", [1.0, 2.0, 4.5]),),
    requests=4,
    prompt_tokens=900,
    answer_tokens=50,
    uncaptioned={"model declined": 1},
    settings={"target": {"frames": 16, "cell": [4, 8, 8]}},
)


def test_the_page_adds_up_and_names_reasons() -> None:
    made = page("pets", [SUMMARY], SUMMARY.run)
    text = re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", made, flags=re.S))
    for words in (
        "1 tar, 3 videos came in and gave 5 clips; 3 are kept, from 2 files.",
        "text 2 33 %",
        "overlaid text covers 0.2, above 0.004 (filters.maxText)",
        "Captions: 1 from captioner, 2 from files. The captioner was asked 4 times and took 900 tokens",
        "It gave none for: model declined 1.",
        "target.cell 4 x 8 x 8",
        "half below 2 s",
    ):
        assert words in text, words
    assert "used again" not in text
    assert "used again" in page("pets", [SUMMARY], "trainings/team/cats/u2/run-001/")


@given(st.text(max_size=60), st.text(max_size=60))
def test_what_strangers_chose_is_text(name: str, caption: str) -> None:
    hostile = f'<script src="{name}">'
    example = ShownExample(outcome=hostile, where=hostile, sentence=f"<i>{caption}</i>")
    one = SUMMARY.model_copy(
        update={"uri": hostile, "dropped": {hostile: 1}, "examples": (example,), "remarks": {hostile: (hostile,)}}
    )
    made = page(hostile, [one.model_copy(update={"remarked": {hostile: 1}})], "run")
    assert "<script" not in made
    assert "<i>" not in made


def test_every_filter_has_a_meaning() -> None:
    assert set(Filter) <= set(MEANINGS)
    assert as_in_spec("0.2 is above 0.1 (max_text)") == "0.2 is above 0.1 (filters.maxText)"


def test_figures_are_for_people() -> None:
    assert [duration(seconds) for seconds in (7.5, 600, 36_000)] == ["7.5 s", "10 min", "10.0 h"]
    assert [size(count) for count in (12, 2048, 5 << 20, 300 << 30)] == ["12 B", "2.0 KiB", "5.0 MiB", "300 GiB"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_every_value_is_in_a_histogram(values: list[float]) -> None:
    found = Histogram.of("x", "", values)
    assert sum(found.counts) == len(values)
    assert len(found.counts) == BINS == len(found.edges) - 1
    assert found.low <= found.middle <= found.high
