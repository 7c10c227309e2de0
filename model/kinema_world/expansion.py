"""Expansion of short prompts to rich captions of the world, for models that were trained on rich captions.

What a prompt says stays as it is. Sizes, speeds, background and camera, which a rich caption of such a scene has, are
drawn at random where the prompt leaves them open. Nothing else is added, so that the training could have had the text.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from kinema_model.rng import RngStream, generator
from kinema_world.captions import VERBS, rich_caption
from kinema_world.errors import CaptionError
from kinema_world.facts import Facts, ObjectFacts, ShotFacts
from kinema_world.parsing import parse_caption
from kinema_world.vocabulary import (
    DIRECTIONS,
    PLAIN_BACKGROUNDS,
    SCENERY_BACKGROUNDS,
    SIZES,
    SPEEDS,
    Motion,
    SceneKind,
)

COMPLETED: Final = "expanded with the vocabulary of the world"
_UNCHANGED: Final = "left unchanged, since it {reason}"
_MOST_OBJECTS: Final = 3
_MOST_OBJECTS_OF_TWO_SHOTS: Final = 2
_SMALLER: Final = tuple(SIZES)[:2]
_SMALLER_KINDS: Final = frozenset({SceneKind.COLLIDE, SceneKind.OCCLUDE, SceneKind.PAINT, SceneKind.TWO_SHOT})
_SCENERY_KINDS: Final = frozenset({SceneKind.OCCLUDE, SceneKind.PAN})
_TIMED: Final = frozenset({Motion.STRAIGHT, Motion.BOUNCE, Motion.HIT, Motion.PASS, Motion.PAINT})
# Words that tell nothing which another wording of the same would have to keep.
_JOINTS: Final = frozenset(
    ("a", "and", "cut", "is", "of", "same", "shot", "that", "the", "then", "to", "which", "while", "1", "2")
)
_STEMS: Final = {form: "move" if stem == "go" else stem for stem, forms in VERBS.items() for form in forms}
_PUNCTUATION: Final = ".,;:"

_Name = tuple[str | None, str | None]


@dataclass(frozen=True)
class Expansion:
    """`rich` is the text to encode instead of `prompt`; `how` says where it comes from and quotes neither."""

    prompt: str
    rich: str
    how: str


def expand(prompt: str, seed: int) -> Expansion:
    """A prompt in the grammar of captions as a rich caption; any other prompt unchanged, with the reason.

    The same prompt and seed (at least 0) give the same text.
    """
    text = " ".join(prompt.split())
    try:
        said = parse_caption(text)
    except CaptionError as error:
        return _unchanged(prompt, error.reason)
    most = _MOST_OBJECTS if len(said.shots) == 1 else _MOST_OBJECTS_OF_TWO_SHOTS
    if any(len(shot.objects) > most for shot in said.shots):
        return _unchanged(prompt, "names more objects than the world shows at once")
    rich = rich_caption(_completed(said, generator(RngStream.CAPTION, seed)))
    # The parser ignores words that it does not know; the expanded prompt must not lose one of them.
    if _content(text) - _content(rich):
        return _unchanged(prompt, "has words outside the vocabulary of the world")
    return Expansion(prompt, rich, COMPLETED)


def _unchanged(prompt: str, reason: str) -> Expansion:
    return Expansion(prompt, prompt, _UNCHANGED.format(reason=reason))


def _content(text: str) -> Counter[str]:
    """How often each word that carries meaning is said, whatever the form of a verb."""
    words = (word.strip(_PUNCTUATION) for word in text.lower().split())
    return Counter(_STEMS.get(word, word) for word in words if word and word not in _JOINTS)


def _completed(said: Facts, draw: np.random.Generator) -> Facts:
    """All that the world tells of a scene of this kind: what is said, and the rest drawn."""
    first, *others = (shot.background for shot in said.shots)
    choices = _backgrounds(said.kind)
    # A cut shows by its background, so the second differs from the first.
    backgrounds = [_said_or_drawn(first, [name for name in choices if name not in others], draw)]
    for other in others:
        backgrounds.append(_said_or_drawn(other, [name for name in choices if name != backgrounds[0]], draw))
    # What comes back in another shot keeps its size.
    every = [thing for shot in said.shots for thing in shot.objects]
    sizes: dict[_Name, str | None] = {(thing.colour, thing.shape): thing.size for thing in every if thing.size}
    shots = []
    for shot, background in zip(said.shots, backgrounds, strict=True):
        objects = []
        for thing in shot.objects:
            known = thing.size or sizes.get((thing.colour, thing.shape))
            size = _said_or_drawn(known, _sizes(said.kind, len(shot.objects)), draw)
            sizes[thing.colour, thing.shape] = size
            objects.append(replace(thing, size=size, speed=_speed(thing, said.kind, draw)))
        shots.append(_filmed(replace(shot, objects=tuple(objects), background=background), said.kind, draw))
    return replace(said, shots=tuple(shots))


def _filmed(shot: ShotFacts, kind: SceneKind | None, draw: np.random.Generator) -> ShotFacts:
    """The shot with what its camera does; a single frame cannot tell."""
    if kind is SceneKind.IMAGE:
        return shot
    if shot.pan not in DIRECTIONS:
        return replace(shot, pan=shot.pan or "still")
    return replace(shot, pan_speed=_said_or_drawn(shot.pan_speed, tuple(SPEEDS), draw))


def _speed(thing: ObjectFacts, kind: SceneKind | None, draw: np.random.Generator) -> str | None:
    timed = thing.motion in _TIMED and kind is not SceneKind.SIMPLE
    return _said_or_drawn(thing.speed, tuple(SPEEDS) if timed else (), draw)


def _backgrounds(kind: SceneKind | None) -> tuple[str, ...]:
    if kind is SceneKind.SIMPLE:
        return PLAIN_BACKGROUNDS[:1]
    return SCENERY_BACKGROUNDS if kind in _SCENERY_KINDS else PLAIN_BACKGROUNDS


def _sizes(kind: SceneKind | None, objects: int) -> tuple[str, ...]:
    """Sizes that the world names in a scene of this kind; of a simple one it names none."""
    if kind is SceneKind.SIMPLE:
        return ()
    return _SMALLER if kind in _SMALLER_KINDS or objects >= _MOST_OBJECTS else tuple(SIZES)


def _said_or_drawn(said: str | None, choices: Sequence[str], draw: np.random.Generator) -> str | None:
    if not choices:
        return said
    # Drawn in any case, so that a prompt which says one thing more is else completed as before.
    drawn = choices[int(draw.integers(len(choices)))]
    return said or drawn
