"""metadata.jsonl and metadata.csv: one row per clip, in the layout of HuggingFace datasets and finetrainers.

Source: HuggingFace datasets documentation, "Create a video dataset", VideoFolder with metadata.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from kinema_dataset.errors import MetadataUnreadable
from kinema_dataset.issues import Issue, Reason, shown
from kinema_dataset.sidecars import TEXT_FIELDS, CaptionText, captions_in, decoded, json_object

MAX_METADATA_BYTES: Final = 1 << 28
"""Longest table: 100,000 rows of 2,500 bytes."""
NAME_FIELD: Final = "file_name"
_MAX_NAME: Final = 1024

Report = Callable[[Issue], None]


@dataclass(frozen=True)
class Row:
    """One row: the key of the clip, its captions, and the place in the table as messages name it."""

    clip: str
    text: CaptionText
    at: str


def rows_of(file: str, data: bytes, report: Report) -> Iterator[Row]:
    """The rows of the table `file` that can be used; `report` is told of the others.

    Raises:
        MetadataUnreadable: it is too long, of no known kind, or none of it can be read.
    """
    if len(data) > MAX_METADATA_BYTES:
        raise MetadataUnreadable(f"{shown(file)} has more than {MAX_METADATA_BYTES} bytes. Split it by folders.")
    folder = file.rpartition("/")[0]
    read = _csv_rows if file.lower().endswith(".csv") else _json_rows
    for at, fields in read(file, data, report):
        try:
            clip = _clip_of(file, folder, at, fields.get(NAME_FIELD))
            row = Row(clip, captions_in(file, at, fields), at)
        except Issue as issue:
            report(issue)
        else:
            yield row


def _json_rows(file: str, data: bytes, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
    good, bad = 0, 0
    for number, line in enumerate(io.BytesIO(data), 1):
        if not line.strip():
            continue
        at = f"line {number}"
        try:
            fields = json_object(file, at, decoded(file, at, line))
        except Issue as issue:
            bad += 1
            report(issue)
        else:
            good += 1
            yield at, fields
    if bad and not good:
        raise MetadataUnreadable(f"{shown(file)}: not one of its {bad} lines is a JSON object. Write one in each line.")


def _csv_rows(file: str, data: bytes, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
    # What is not UTF-8 spoils its own row alone: it passes as lone surrogates, which no caption may hold.
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", errors="surrogateescape", newline="")
    with _fields_of(len(data)):
        rows = csv.reader(text, strict=True)
        header = _header(file, rows)
        while True:
            at = f"line {rows.line_num + 1}"
            try:
                row = next(rows, None)
            except csv.Error as error:
                report(Issue(Reason.NOT_CSV, file, at, f"{error}. Close or double its quotes."))
                continue
            if row is None:
                return
            if len(row) > len(header):
                sentence = f"it has {len(row)} fields and the header {len(header)}. Quote a caption that holds commas."
                report(Issue(Reason.NOT_CSV, file, at, sentence))
            elif row:
                yield at, dict(zip(header, row, strict=False))


def _header(file: str, rows: Iterator[list[str]]) -> list[str]:
    try:
        header = [name.strip() for name in next(rows, [])]
    except csv.Error as error:
        raise MetadataUnreadable(f"{shown(file)}, line 1: {error}. Correct its header.") from None
    if NAME_FIELD not in header:
        raise MetadataUnreadable(f"{shown(file)} has no column {NAME_FIELD}. Name the columns in its first line.")
    if not set(header) & set(TEXT_FIELDS):
        raise MetadataUnreadable(f"{shown(file)} has none of the columns {', '.join(TEXT_FIELDS)}. Add one.")
    return header


@contextmanager
def _fields_of(most: int) -> Iterator[None]:
    """Let a field of CSV be as long as its file: the library's limit would drop it in the middle of a row."""
    before = csv.field_size_limit()
    csv.field_size_limit(max(before, most + 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _clip_of(file: str, folder: str, at: str, name: object) -> str:
    """The key of the file that a row names, below the table's folder. Raises `Issue`."""
    if not isinstance(name, str) or not name.strip():
        raise Issue(Reason.BAD_NAME, file, at, f"it has no {NAME_FIELD}. Name the clip's file.")
    parts = [part for part in name.strip().split("/") if part not in ("", ".")]
    absolute = name.strip().startswith("/") or "://" in name or "\\" in name
    if absolute or ".." in parts or not parts or len(name) > _MAX_NAME or not name.isprintable():
        sentence = f"{NAME_FIELD} {json.dumps(shown(name, 80))} is no path below the table's folder. Correct it."
        raise Issue(Reason.BAD_NAME, file, at, sentence)
    return "/".join(([folder] if folder else []) + parts)
