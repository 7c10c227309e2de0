"""Parses captions of the grammar into facts, so that a caption can be compared with what it should say.

It parses short captions in every style and rich ones. The object phrases are found first; the text between one and
the next says what the first one does.
"""

import re
from dataclasses import replace
from typing import Final

from kinema_world.captions import COUNTS, refuse
from kinema_world.facts import Facts, ObjectFacts, ShotFacts
from kinema_world.vocabulary import (
    BACKGROUNDS,
    COLOURS,
    DIAGONALS,
    DIRECTIONS,
    SHAPES,
    SIZES,
    SPEEDS,
    WALLS,
    Motion,
    SceneKind,
)


def _one_of(name: str, words: object) -> str:
    return f"(?P<{name}>{'|'.join(words)})"  # type: ignore[arg-type]


# Diagonals first: "up and left" begins with "up".
_HEADING: Final = _one_of("heading", (*DIAGONALS, *DIRECTIONS))
_SPEED: Final = f"(?: {_one_of('speed', SPEEDS)})?"
_PLAIN: Final = f"(?:{_one_of('size', SIZES)} )?{_one_of('colour', COLOURS)} {_one_of('shape', SHAPES)}"
_THAT_IS: Final = f"(?:{_one_of('size2', SIZES)} )?{_one_of('shape2', SHAPES)} that is {_one_of('colour2', COLOURS)}"
# What the second of two shots may call an object of the first.
_RECALLED: Final = "the same object"
_OBJECT: Final = re.compile(rf"\b(?:{_PLAIN}|{_THAT_IS}|{_RECALLED})\b,?")
_MOVES: Final = re.compile(rf"\b(?:moves|moving|goes|going) {_HEADING}\b{_SPEED}")
_FALLS: Final = re.compile(rf"\bfall(?:s|ing)\b(?: and bounc(?:es|ing) {_one_of('count', COUNTS)})?")
_WALL: Final = re.compile(rf"\b{_one_of('wall', WALLS)} wall\b")
_TRAIL: Final = re.compile(rf"\bpaint(?:s|ing) a {_one_of('trail', COLOURS)} trail\b")
_PANS: Final = re.compile(rf"(?: while)? ?the camera pans {_HEADING}\b{_SPEED}")
_BACKGROUND: Final = re.compile(rf"\bthe background is {_one_of('background', BACKGROUNDS)}\b")
_IDLE: Final = "does not say what every object does"
_SHOTS: Final = re.compile(r"; cut to |shot \d+: ")


def parse_caption(text: str) -> Facts:
    """The facts that a caption states. Raises `CaptionError` for a text outside the grammar."""
    parts = [part for part in _SHOTS.split(text.strip().lower()) if part.strip()]
    shots = tuple(_shot(part, text) for part in parts)
    if not 1 <= len(shots) <= 2:
        raise refuse(text, "has no shot or more than two")
    return Facts(_kind(shots, text), shots)


def _shot(part: str, text: str) -> ShotFacts:
    pan, background = _PANS.search(part), _BACKGROUND.search(part)
    rest = _PANS.sub("", part)
    found = list(_OBJECT.finditer(rest))
    if not found:
        raise refuse(text, "names no object of a known colour and shape")
    ends = [match.start() for match in found[1:]] + [len(rest)]
    picture = rest.startswith("a picture of")
    objects = []
    for match, end in zip(found, ends, strict=True):
        words = match.groupdict()
        colour, outline, size = (words[name] or words[f"{name}2"] for name in ("colour", "shape", "size"))
        thing = ObjectFacts(colour, outline, size)
        objects.append(thing if picture else _doing(thing, rest[match.end() : end], text))
    motions = [thing.motion for thing in objects]
    if not motions.count(Motion.HIT) == motions.count(Motion.STRUCK) <= 1:
        raise refuse(text, "does not say of one object that it hits another, which goes somewhere")
    return ShotFacts(
        tuple(objects),
        background["background"] if background else None,
        pan["heading"] if pan else "still" if "the camera is still" in part else None,
        pan["speed"] if pan else None,
    )


def _doing(thing: ObjectFacts, said: str, text: str) -> ObjectFacts:
    """The object with what the words after it say that it does."""
    if falls := _FALLS.search(said):
        count = falls["count"]
        return replace(thing, motion=Motion.FALL, rebounds=COUNTS.index(count) + 1 if count else 0)
    if re.search(r"\bstay(?:s|ing) still\b", said):
        return replace(thing, motion=Motion.STILL)
    moves = _MOVES.search(said)
    if moves is None:
        raise refuse(text, _IDLE)
    thing = replace(thing, motion=Motion.STRAIGHT, heading=moves["heading"], speed=moves["speed"])
    if said.startswith(" which") or said.startswith(", which"):
        return replace(thing, motion=Motion.STRUCK)
    if walls := tuple(match["wall"] for match in _WALL.finditer(said)):
        return replace(thing, motion=Motion.BOUNCE, walls=walls)
    if re.search(r"\bhit(?:s|ting)\b", said):
        return replace(thing, motion=Motion.HIT)
    if re.search(r"\bpass(?:es|ing) behind\b", said):
        return replace(thing, motion=Motion.PASS)
    if trail := _TRAIL.search(said):
        return replace(thing, motion=Motion.PAINT, trail=trail["trail"])
    return thing


_KIND_OF: Final = {
    Motion.BOUNCE: SceneKind.BOUNCE,
    Motion.FALL: SceneKind.GRAVITY,
    Motion.HIT: SceneKind.COLLIDE,
    Motion.PASS: SceneKind.OCCLUDE,
    Motion.PAINT: SceneKind.PAINT,
}


def kind_of(shots: tuple[ShotFacts, ...]) -> SceneKind | None:
    """The kind that facts belong to, None where a motion in them is unknown."""
    first = shots[0]
    if len(shots) == 2:
        return SceneKind.TWO_SHOT
    motions = [thing.motion for thing in first.objects]
    if all(motion is None for motion in motions):
        return SceneKind.IMAGE
    if first.pan not in (None, "still"):
        return SceneKind.PAN
    for motion in motions:
        if motion in _KIND_OF:
            return _KIND_OF[motion]
    if None in motions:
        return None
    return SceneKind.SEVERAL if len(motions) > 1 else SceneKind.SIMPLE


def _kind(shots: tuple[ShotFacts, ...], text: str) -> SceneKind:
    kind = kind_of(shots)
    if kind is None:
        raise refuse(text, _IDLE)
    return kind
