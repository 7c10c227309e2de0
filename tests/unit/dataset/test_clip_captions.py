"""Captions from files beside clips and from tables: whatever people write there, the other captions are read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from kinema_dataset.captions import CaptionBook, ending, stem
from kinema_dataset.errors import MetadataUnreadable
from kinema_dataset.issues import MAX_SENTENCES, Issue, Reason
from kinema_dataset.sidecars import MAX_CAPTION, MAX_SIDECAR_BYTES, CaptionText, json_sidecar, text_sidecar
from kinema_dataset.tables import MAX_METADATA_BYTES

SCRIPTS = ("ein Fuchs läuft", "狐狸在跑", "الثعلب يجري", "लोमड़ी दौड़ती है", "می‌دود روباه", "🦊🏃‍♀️")


def table(*rows: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def reasons(book: CaptionBook) -> dict[Reason, int]:
    book.settle()
    return dict(book.issues.counts)


@pytest.mark.parametrize("said", SCRIPTS)
def test_captions_of_any_script_stay_as_they_are(said: str) -> None:
    assert text_sidecar("a.txt", f"\ufeff  {said}\r\n".encode()).short == said
    assert json_sidecar("a.json", json.dumps({"text": said}).encode()).rich == said
    book = CaptionBook(["v/a.mp4"])
    book.add_metadata("v/metadata.csv", table(["file_name", "text"], ["a.mp4", said]))
    assert book.settle()["v/a.mp4"].short == said


@pytest.mark.parametrize(
    ("fields", "short", "rich"),
    [
        ({"caption": "a fox"}, "a fox", "a fox"),
        ({"text": "a fox", "caption": "a cat"}, "a cat", "a cat"),
        ({"short": "a fox", "rich": "A red fox\nruns."}, "a fox", "A red fox runs."),
        ({"rich": "A red fox."}, "A red fox.", "A red fox."),
        ({"short": "a fox", "text": "A red fox."}, "a fox", "A red fox."),
        ({"short": None, "text": "a fox", "duration": 4.2}, "a fox", "a fox"),
    ],
)
def test_a_short_and_a_rich_caption_are_kept(fields: dict[str, object], short: str, rich: str) -> None:
    captions = json_sidecar("a.json", json.dumps(fields).encode()).captions()
    assert (captions.short, captions.rich, captions.shots) == (short, rich, (short,))


@pytest.mark.parametrize(
    ("read", "data", "reason", "words"),
    [
        (text_sidecar, b"", Reason.EMPTY, "a.x: the caption is blank"),
        (text_sidecar, "\u200b \x07\n".encode(), Reason.EMPTY, "blank"),
        (text_sidecar, b"fox \xff", Reason.NOT_UTF8, "not UTF-8 at byte 4"),
        (text_sidecar, "fox".encode("utf-16"), Reason.NOT_UTF8, "UTF-16"),
        (text_sidecar, b"f" * (1 << 20), Reason.TOO_LONG, "Shorten it"),
        (text_sidecar, b"f" * (MAX_CAPTION + 1), Reason.TOO_LONG, f"{MAX_CAPTION + 1} characters"),
        (json_sidecar, b"{", Reason.NOT_JSON, "not JSON"),
        (json_sidecar, b"[" * MAX_SIDECAR_BYTES, Reason.NOT_JSON, "not JSON"),
        (json_sidecar, b'["a fox"]', Reason.NOT_JSON, "not a JSON object"),
        (json_sidecar, b'{"caption": 7}', Reason.NOT_TEXT, "a.x, caption: it is a int"),
        (json_sidecar, b'{"rich": "\\ud800"}', Reason.NOT_UTF8, "a.x, rich"),
        (json_sidecar, b'{"title": "fox"}', Reason.EMPTY, "none of short, rich, caption, text"),
        (json_sidecar, b'{"caption": ""}', Reason.EMPTY, "none of"),
    ],
)
def test_a_bad_file_is_told_in_one_sentence(
    read: Callable[[str, bytes], CaptionText], data: bytes, reason: Reason, words: str
) -> None:
    with pytest.raises(Issue, match=words) as refused:
        read("a.x", data)
    assert refused.value.reason is reason
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_table_with_quotes_and_newlines_is_read() -> None:
    book = CaptionBook(["v/a.mp4", "v/b/c.mp4", "v/d.mp4"])
    said = 'He says "run, fox!"\nand it runs.'
    rows = table(["file_name", "text"], ["a.mp4", said], ["./b//c.mp4", "two, three"], ["d.mp4", "x" * 200_000])
    book.add_metadata("v/metadata.csv", rows)
    settled = book.settle()
    assert settled["v/a.mp4"].rich == 'He says "run, fox!" and it runs.'
    assert settled["v/b/c.mp4"].short == "two, three"
    assert book.issues.counts == {Reason.TOO_LONG: 1, Reason.MISSING: 1}
    assert csv.field_size_limit() == 131072


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.mp4,a fox,too many", Reason.NOT_CSV),
        ('a.mp4,"a" fox', Reason.NOT_CSV),
        ("a.mp4", Reason.EMPTY),
        (",a fox", Reason.BAD_NAME),
        ("../a.mp4,a fox", Reason.BAD_NAME),
        ("/v/a.mp4,a fox", Reason.BAD_NAME),
        ("s3://v/a.mp4,a fox", Reason.BAD_NAME),
        ("b\\a.mp4,a fox", Reason.BAD_NAME),
        ("none.mp4,a fox", Reason.OTHER_FILE),
        ("good.mp4,again", Reason.DUPLICATE),
        ("a.mp4,\udcff", Reason.NOT_UTF8),
    ],
)
def test_a_bad_row_of_csv_spoils_itself_alone(row: str, reason: Reason) -> None:
    book = CaptionBook(["v/a.mp4", "v/good.mp4", "v/last.mp4"])
    data = f"file_name,text\ngood.mp4,fine\n{row}\nlast.mp4,fine\n".encode(errors="surrogateescape")
    book.add_metadata("v/metadata.csv", data)
    assert book.issues.counts == {reason: 1}
    (sentence,) = book.issues.sentences[reason]
    assert sentence.startswith("v/metadata.csv, line 3")
    assert set(book.settle()) == {"v/good.mp4", "v/last.mp4"}


def test_a_quote_that_is_never_closed_is_told() -> None:
    book = CaptionBook(["a.mp4", "b.mp4"])
    book.add_metadata("metadata.csv", b'file_name,text\na.mp4,fine\nb.mp4,"never closed\n')
    assert book.issues.counts == {Reason.NOT_CSV: 1}
    assert set(book.settle()) == {"a.mp4"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", Reason.NOT_JSON),
        (b"7", Reason.NOT_JSON),
        (b'{"text": "fox"}', Reason.BAD_NAME),
        (b'{"file_name": 7, "text": "fox"}', Reason.BAD_NAME),
        (b'{"file_name": "a.mp4", "text": ["fox"]}', Reason.NOT_TEXT),
        (b'{"file_name": "a.mp4", "text": "\xff"}', Reason.NOT_UTF8),
    ],
)
def test_a_bad_line_of_jsonl_spoils_itself_alone(line: bytes, reason: Reason) -> None:
    book = CaptionBook(["a.mp4", "b.mp4"])
    book.add_metadata("metadata.jsonl", line + b"\n\n" + lines({"file_name": "b.mp4", "text": "fine"}))
    assert book.issues.counts == {reason: 1}
    assert set(book.settle()) == {"b.mp4"}


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("metadata.csv", b"", "no column file_name"),
        ("metadata.csv", b"name,text\n", "no column file_name"),
        ("metadata.csv", b"file_name,words\n", "none of the columns"),
        ("metadata.csv", b'"file_name"x,text\n', "line 1"),
        ("metadata.jsonl", b"\x00\xff\n{\n", "not one of its 2 lines"),
        ("metadata.jsonl", b" " * (MAX_METADATA_BYTES + 1), "Split it"),
    ],
)
def test_a_table_that_says_nothing_is_an_error(name: str, data: bytes, words: str) -> None:
    with pytest.raises(MetadataUnreadable, match=words) as unreadable:
        CaptionBook(["a.mp4"]).add_metadata(name, data)
    book = CaptionBook([])
    book.add_unreadable(name, unreadable.value)
    assert book.issues.counts == {Reason.UNREADABLE: 1}


def test_of_several_sources_the_first_in_order_counts_whichever_was_read_first() -> None:
    read: list[Callable[[CaptionBook], None]] = [
        lambda book: book.add_sidecar("v/a.json", b'{"text": "json"}'),
        lambda book: book.add_sidecar("v/a.txt", b"txt"),
        lambda book: book.add_metadata("v/metadata.jsonl", lines({"file_name": "a.mp4", "text": "jsonl"})),
        lambda book: book.add_metadata("metadata.csv", table(["file_name", "text"], ["v/a.mp4", "far"])),
        lambda book: book.add_metadata("v/metadata.csv", table(["file_name", "text"], ["a.mp4", "near"])),
    ]
    for first, wanted in enumerate(("json", "txt", "jsonl", "near")):
        for order in (read[first:], read[: first - 1 if first else None : -1]):
            book = CaptionBook(["v/a.mp4"])
            for step in order:
                step(book)
            assert reasons(book) == {Reason.TWO_SOURCES: 1}
            assert book.settle()["v/a.mp4"].short == wanted


def test_sources_that_agree_are_no_issue() -> None:
    book = CaptionBook(["a.mp4"])
    book.add_sidecar("a.txt", b"a fox\n")
    book.add_metadata("metadata.jsonl", lines({"file_name": "a.mp4", "text": "a fox"}))
    assert reasons(book) == {}


def test_captions_for_other_files_and_clips_without_are_counted() -> None:
    book = CaptionBook(["v/a.mp4", "v/a.mov", "v/b.mp4"])
    book.add_sidecar("v/a.txt", b"a fox")
    book.add_sidecar("v/c.txt", b"a cat")
    assert set(book.settle()) == {"v/a.mp4", "v/a.mov"}
    assert book.issues.counts == {Reason.OTHER_FILE: 1, Reason.MISSING: 1}


def test_sentences_are_few_and_counts_are_whole() -> None:
    book = CaptionBook([f"{number}.mp4" for number in range(MAX_SENTENCES + 50)])
    book.settle()
    assert book.issues.counts == {Reason.MISSING: MAX_SENTENCES + 50}
    assert len(book.issues.sentences[Reason.MISSING]) == MAX_SENTENCES


def test_endings_are_told_from_names() -> None:
    assert [ending(name) for name in ("v/a.MP4", "v.1/a", "v/.txt", "a.tar.gz", "")] == [".mp4", "", "", ".gz", ""]
    assert stem("v.1/a.b.mp4") == "v.1/a.b"


@given(data=st.binary(max_size=300), name=st.sampled_from(["a.txt", "a.json", "metadata.csv", "metadata.jsonl"]))
def test_no_bytes_raise_anything_else(data: bytes, name: str) -> None:
    book = CaptionBook(["a.mp4"])
    with suppress(MetadataUnreadable):
        (book.add_metadata if name.startswith("m") else book.add_sidecar)(name, data)
    for captions in book.settle().values():
        captions.short.encode()
        assert captions.short == " ".join(captions.short.split()) != ""


@given(
    captions=st.dictionaries(
        st.from_regex(r"[a-z]{1,5}\.mp4", fullmatch=True),
        st.text(min_size=1, max_size=60).filter(lambda text: any(c.isalnum() for c in text)),
        max_size=8,
    )
)
def test_both_tables_say_the_same(captions: dict[str, str]) -> None:
    books = [CaptionBook(captions), CaptionBook(captions)]
    said = {name: text.replace("\r", " ") for name, text in captions.items()}
    books[0].add_metadata("metadata.csv", table(["file_name", "caption"], *map(list, said.items())))
    books[1].add_metadata("metadata.jsonl", lines(*({"file_name": n, "caption": t} for n, t in said.items())))
    assert books[0].settle() == books[1].settle()
    assert len(books[0].settle()) == len(captions)


def test_many_clips_are_settled_quickly_enough_to_list() -> None:
    names = [f"v/{number:06d}.mp4" for number in range(examples(4000))]
    book = CaptionBook(names)
    book.add_metadata("v/metadata.jsonl", lines(*({"file_name": n[2:], "text": f"clip {n}"} for n in names)))
    assert len(book.settle()) == len(names)
    assert not book.issues.counts
