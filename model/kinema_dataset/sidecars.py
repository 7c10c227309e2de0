"""One caption out of the bytes of one file or the fields of one row: cleaned, bounded, in any script."""

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kinema_dataset.issues import Issue, Reason
from kinema_model.source import Captions

MAX_SIDECAR_BYTES: Final = 1 << 18
"""Longest file beside a clip that is read."""
MAX_CAPTION: Final = 8192
"""Most characters of a caption; text encoders read 512 tokens, about 2,500 characters."""
SHORT_FIELD: Final = "short"
RICH_FIELD: Final = "rich"
CAPTION_FIELDS: Final = ("caption", "text")
"""One caption for both; the first that is there counts."""
TEXT_FIELDS: Final = (SHORT_FIELD, RICH_FIELD, *CAPTION_FIELDS)
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class CaptionText:
    """What a file says of a clip: one of the two may be missing, and the other then stands for it."""

    short: str | None
    rich: str | None

    def captions(self) -> Captions:
        """Captions of a clip of one shot."""
        short = self.short or self.rich or ""
        return Captions(short, self.rich or short, (short,))


def text_sidecar(file: str, data: bytes) -> CaptionText:
    """The caption of a `NAME.txt`: all of it, as one line. Raises `Issue`."""
    text = caption_of(file, "", decoded(file, "", bounded(file, data)))
    return CaptionText(text, text)


def json_sidecar(file: str, data: bytes) -> CaptionText:
    """The captions of a `NAME.json`, an object with some of TEXT_FIELDS. Raises `Issue`."""
    return captions_in(file, "", json_object(file, "", decoded(file, "", bounded(file, data))))


def bounded(file: str, data: bytes) -> bytes:
    """`data` itself. Raises `Issue` where it is longer than MAX_SIDECAR_BYTES."""
    if len(data) > MAX_SIDECAR_BYTES:
        sentence = f"it has more than {MAX_SIDECAR_BYTES} bytes, which is no caption. Shorten it."
        raise Issue(Reason.TOO_LONG, file, "", sentence)
    return data


def decoded(file: str, field: str, data: bytes) -> str:
    """Bytes as text, without a byte order mark. Raises `Issue`."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "UTF-16" if data.startswith(_UTF16) else f"not UTF-8 at byte {error.start}"
        raise Issue(Reason.NOT_UTF8, file, field, f"it is {kind}. Save it as UTF-8.") from None


def json_object(file: str, field: str, text: str) -> Mapping[str, Any]:
    """Text as a JSON object. Raises `Issue`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Issue(Reason.NOT_JSON, file, field, "it is not JSON. Correct or delete it.") from None
    if not isinstance(found, dict):
        sentence = f"it is not a JSON object with one of {', '.join(TEXT_FIELDS)}. Write one."
        raise Issue(Reason.NOT_JSON, file, field, sentence)
    return found


def captions_in(file: str, at: str, fields: Mapping[str, Any]) -> CaptionText:
    """The captions among the fields of a row or file, of which an empty one counts as missing.

    Raises `Issue`, which names the field; `at` names the row.
    """
    named = {name: fields[name] for name in TEXT_FIELDS if fields.get(name) not in (None, "")}
    texts = {name: caption_of(file, f"{at} {name}".strip(), value) for name, value in named.items()}
    either = next((texts[name] for name in CAPTION_FIELDS if name in texts), None)
    short, rich = texts.get(SHORT_FIELD, either), texts.get(RICH_FIELD, either)
    if short is None and rich is None:
        sentence = f"it has none of {', '.join(TEXT_FIELDS)}. Write a caption into one of them."
        raise Issue(Reason.EMPTY, file, at, sentence)
    return CaptionText(short, rich)


def caption_of(file: str, field: str, value: object) -> str:
    """A caption on one line, without control characters; whatever else is in it stays as it is.

    Raises `Issue` where it is no text, blank, or longer than MAX_CAPTION characters.
    """
    if not isinstance(value, str):
        raise Issue(Reason.NOT_TEXT, file, field, f"it is a {type(value).__name__}, not a text. Write a text.")
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise Issue(Reason.NOT_UTF8, file, field, "it holds bytes that are not UTF-8. Save it as UTF-8.")
    text = " ".join("".join(c for c in value if c.isspace() or unicodedata.category(c) != "Cc").split())
    if not any(unicodedata.category(c)[0] not in "CZ" for c in text):
        raise Issue(Reason.EMPTY, file, field, "the caption is blank. Write one or delete it.")
    if len(text) > MAX_CAPTION:
        sentence = f"the caption has {len(text)} characters, more than {MAX_CAPTION}. Shorten it."
        raise Issue(Reason.TOO_LONG, file, field, sentence)
    return text
