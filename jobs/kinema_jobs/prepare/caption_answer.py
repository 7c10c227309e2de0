"""What a captioner answered: two captions, or a reason why there are none. A model may say anything at all."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kinema_dataset.issues import Issue
from kinema_dataset.sidecars import CaptionText, caption_of

MAX_SHORT: Final = 400
"""Most characters of a short caption."""
MAX_RICH: Final = 4000
_FENCE: Final = "```"
_THOUGHT: Final = "</think>"
_REPEATING: Final = 0.25
"""Share of different words below which a caption of many words repeats itself."""
_MANY_WORDS: Final = 20
_APOLOGIES: Final = ("i'm sorry", "i am sorry", "i cannot", "i can't", "i'm unable", "i am unable", "as an ai")


class Refusal(StrEnum):
    """Why an answer was of no use."""

    NO_COMPLETION = "not a chat completion"
    CUT = "answer cut off"
    NOT_JSON = "answer not JSON"
    NO_CAPTIONS = "answer without captions"
    BLANK = "blank caption"
    TOO_LONG = "caption too long"
    REPEATS = "caption repeats itself"
    DECLINED = "model declined"


class NotCaptioned(Exception):
    """A clip gets no caption: `reason` is what is counted, `str(error)` a sentence that quotes nothing of an answer.

    `final` says that another try would end alike, `wait` for how many seconds the endpoint asks before one.
    """

    def __init__(self, reason: StrEnum, sentence: str, *, final: bool = False, wait: float = 0.0) -> None:
        super().__init__(sentence)
        self.reason, self.final, self.wait = reason, final, wait


class Usage(BaseModel):
    """Tokens that a request took."""

    model_config = ConfigDict(frozen=True)

    prompt_tokens: Annotated[int, Field(ge=0, le=10**12)] = 0
    completion_tokens: Annotated[int, Field(ge=0, le=10**12)] = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage.model_construct(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: Annotated[tuple[_Choice, ...], Field(min_length=1)]


class _Billed(BaseModel):
    usage: Usage = Usage()


class _Captions(BaseModel):
    short: str
    rich: str


def answer_of(body: bytes) -> tuple[CaptionText | NotCaptioned, Usage]:
    """The captions in the body of an answer, or why there are none; and its tokens, which cost in any case."""
    try:
        usage = _Billed.model_validate_json(body).usage
    except ValidationError:
        usage = Usage()
    try:
        return _captions(body), usage
    except NotCaptioned as refusal:
        return refusal, usage


def _captions(body: bytes) -> CaptionText:
    try:
        choice = _Completion.model_validate_json(body).choices[0]
    except ValidationError:
        raise NotCaptioned(Refusal.NO_COMPLETION, "the response is no chat completion. Check the endpoint.") from None
    if choice.finish_reason == "length":
        raise NotCaptioned(Refusal.CUT, "the answer was cut off. Raise max_tokens.")
    said = _object(choice.message.content)
    return CaptionText(_text("short", said.short, MAX_SHORT), _text("rich", said.rich, MAX_RICH))


def _object(content: str) -> _Captions:
    """The JSON object of an answer, without a thought before it or a fence around it."""
    text = content.rpartition(_THOUGHT)[2].strip()
    if text.startswith(_FENCE):
        text = text.partition("\n")[2].rpartition(_FENCE)[0]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        declined = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").startswith(_APOLOGIES)
        reason = Refusal.DECLINED if declined else Refusal.NOT_JSON
        raise NotCaptioned(reason, "the answer is no JSON object. Try another model or prompt.") from None
    try:
        return _Captions.model_validate(found, strict=True)
    except ValidationError as error:
        at = ".".join(map(str, error.errors()[0]["loc"])) or "the object"
        sentence = f"the answer lacks a text in {at if at in ('short', 'rich') else 'the object'}. Try another prompt."
        raise NotCaptioned(Refusal.NO_CAPTIONS, sentence) from None


def _text(name: str, said: str, most: int) -> str:
    try:
        text = caption_of("answer", name, said[: 4 * most])
    except Issue:
        raise NotCaptioned(Refusal.BLANK, f"{name} in the answer is blank. Try another model or prompt.") from None
    words = text.lower().split()
    if len(text) > most:
        raise NotCaptioned(Refusal.TOO_LONG, f"{name} in the answer has more than {most} characters. Ask for less.")
    if len(words) >= _MANY_WORDS and len(set(words)) < _REPEATING * len(words):
        raise NotCaptioned(Refusal.REPEATS, f"{name} in the answer repeats itself. Try another model.")
    if text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").startswith(_APOLOGIES):
        raise NotCaptioned(Refusal.DECLINED, f"{name} in the answer is no caption. Try another model or prompt.")
    return text
