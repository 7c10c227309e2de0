"""Extracts the prompt from a language model's answer.

Despite instructions, chat models add reasoning, fences, labels, quotation marks and remarks, or refuse. A video model
would draw all of that as part of the scene.
"""

from __future__ import annotations

import re
from typing import Final

_THOUGHT: Final = r"think|thinking|thought|reasoning|reflection|analysis|scratchpad"
_CLOSED_THOUGHT: Final = re.compile(rf"<({_THOUGHT})\b[^>]*>.*?</\1\s*>", re.I | re.S)
_ENDED_THOUGHT: Final = re.compile(rf"^.*</({_THOUGHT})\s*>", re.I | re.S)
_OPEN_THOUGHT: Final = re.compile(rf"<({_THOUGHT})\b[^>]*>.*$", re.I | re.S)
"""Reasoning that was cut off by the limit on tokens, so that no prompt follows it."""
_CHANNEL: Final = re.compile(r"^.*<\|channel\|>\s*final\b.*?<\|message\|>", re.I | re.S)
_SPECIAL: Final = re.compile(r"<\|[a-z_]+\|>|\[/?INST\]|</?s>", re.I)
_TAG: Final = re.compile(r"</?(answer|output|response|prompt|expanded|description|final)\b[^>]*>", re.I)
_FENCE: Final = re.compile(r"(```|~~~)[^\n`~]*\n(.*?)(\1|$)", re.S)
_STRAY_FENCE: Final = re.compile(r"```|~~~")
_NAME: Final = (
    r"(?:(?:here(?:'s| is| are)|this is|below is)\b[^\n:]{0,80}"
    r"|(?:(?:the|your|my|a|an|final|full|new|video|clip|scene|image|text|expanded|enhanced|improved|detailed|revised|"
    r"rewritten|completed|complete|english)\s+)*"
    r"(?:prompt|description|caption|answer|output|response|rewrite|version|result))"
)
_OPENING: Final = re.compile(
    r"^(?:(?:sure|certainly|of course|okay|ok|absolutely|great|alright)\b[^\n.!:]{0,40}[.!,:]\s*)+", re.I
)
_LABEL: Final = re.compile(rf"^[\s>#*_\-]*{_NAME}\s*(?:\([^)\n]*\)\s*)?[*_]*\s*:\s*[*_]*\s*", re.I)
_REMARK: Final = re.compile(
    r"\n\s*[>#*_\-(]*\s*(?:note|notes|remark|explanation|word count|negative prompt|tags?|hope this|let me know|"
    r"feel free|would you like|this (?:prompt|description|version)|i (?:have|'ve) |if you)\b.*$",
    re.I | re.S,
)
_TAIL: Final = re.compile(r"\s*\(\s*(?:word count|\d+ words|note)\b[^)]*\)\s*$", re.I)
_EMPHASIS: Final = re.compile(r"(\*\*|__)(.+?)\1", re.S)
_LINE_MARK: Final = re.compile(r"^\s*(?:#{1,6}\s+|>\s*|[-*+]\s+|\d+[.)]\s+)", re.M)
_QUOTES: Final = ('""', "''", "\u201c\u201d", "\u2018\u2019", "\u00ab\u00bb", "``", "**", "__", "\u300c\u300d")
_REFUSAL: Final = re.compile(
    r"^\W*(?:(?:i'?m|i am|we'?re|we are)\s+(?:very |so |really |truly )?(?:sorry|afraid|unable|not able|not allowed|"
    r"not comfortable|just an? |only an? |an ai\b)"
    r"|sorry\b|(?:my )?apolog|as an? (?:ai\b|language model|assistant)|unfortunately,? (?:i|we)\b"
    r"|i (?:can(?:no|')t|can not|could not|couldn'?t|won'?t|will not|do not|don'?t|must|have to decline|decline|refuse"
    r"|apologi)"
    r"|(?:this|that|your|the) (?:request|prompt|description|content|message) (?:violates|goes against|is not allowed"
    r"|can(?:no|')t|is against|appears to|contains)"
    r"|no prompt|n/?a\W*$|please (?:provide|give|share|describe|specify)"
    r"|could you (?:please )?(?:provide|clarify|describe)|what would you like|how can i help)",
    re.I,
)


def prompt_in_answer(text: str) -> str:
    """The prompt in an answer; empty if the answer is a refusal or contains no prompt."""
    text = text.replace("\u2019", "'").replace("\r\n", "\n")
    text = _CLOSED_THOUGHT.sub(" ", _CHANNEL.sub("", text))
    text = _OPEN_THOUGHT.sub("", _ENDED_THOUGHT.sub("", text))
    text = _TAG.sub("\n", _SPECIAL.sub(" ", text)).strip()
    if fenced := _FENCE.search(text):
        text = fenced[2].strip() or _FENCE.sub("", text)
    text = _STRAY_FENCE.sub("", text).strip()
    before = None
    while before != text:
        before = text
        text = _unwrapped(_LABEL.sub("", _OPENING.sub("", text, count=1), count=1).strip())
    text = _TAIL.sub("", _REMARK.sub("", text))
    text = _unwrapped(_LINE_MARK.sub("", _EMPHASIS.sub(r"\2", text)).strip())
    return "" if _REFUSAL.match(text) or not any(c.isalnum() for c in text) else text


def _unwrapped(text: str) -> str:
    """The text without quotation marks or emphasis around it."""
    for opening, closing in ((pair[: len(pair) // 2], pair[len(pair) // 2 :]) for pair in (*_QUOTES, "****", "____")):
        inner = text[len(opening) : -len(closing)]
        around = len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing)
        if around and opening not in inner and closing not in inner:
            return inner.strip()
    return text
