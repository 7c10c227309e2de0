"""The grammar of captions: facts to words, and words back to facts.

A short caption names colours, shapes and what happens; a rich one adds sizes, speeds, background, camera and
shots. Both state facts only. Half of the short captions are in the canonical style, the others in one of five
paraphrases, so that a model does not learn a single wording.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kinema_model.rng import RngStream, generator
from kinema_model.source import Captions
from kinema_world.errors import CaptionError
from kinema_world.facts import Facts, ObjectFacts, ShotFacts
from kinema_world.vocabulary import Attributes, Motion, SceneKind, combinations

COUNTS: Final = ("once", "twice", "three times", "four times", "five times")
_CANONICAL_SHARE: Final = 0.5
# (third person, participle) of every verb.
VERBS: Final[dict[str, tuple[str, str]]] = {
    "stay": ("stays", "staying"),
    "move": ("moves", "moving"),
    "go": ("goes", "going"),
    "bounce": ("bounces", "bouncing"),
    "fall": ("falls", "falling"),
    "hit": ("hits", "hitting"),
    "pass": ("passes", "passing"),
    "paint": ("paints", "painting"),
}


@dataclass(frozen=True)
class Style:
    """One way to word a caption: how an object is named and in which form its verb stands."""

    noun: str = "a {size}{colour} {shape}"
    move: str = "move"
    participle: bool = False

    def name(self, thing: ObjectFacts) -> str:
        """An object as this style names it: `a small red square`."""
        size = f"{thing.size} " if thing.size else ""
        return self.noun.format(size=size, colour=thing.colour, shape=thing.shape)

    def verb(self, stem: str) -> str:
        """The form of a verb of `VERBS` in this style: `moves`, `moving`, or `goes` for `move`."""
        return VERBS[self.move if stem == "move" else stem][self.participle]


CANONICAL: Final = Style()
_RECURRING: Final = Style(noun="the same {size}{colour} {shape}")
_RECALLED: Final = Style(noun="the same object")
_PARAPHRASES: Final = (
    Style(participle=True),
    Style(noun="the {size}{colour} {shape}"),
    Style(move="go"),
    Style(noun="{size}{colour} {shape},", participle=True),
    Style(noun="a {size}{shape} that is {colour}"),
)


def draw_style(draw: np.random.Generator) -> Style:
    """The canonical style, or one of the paraphrases."""
    if draw.random() < _CANONICAL_SHARE:
        return CANONICAL
    return _PARAPHRASES[int(draw.integers(len(_PARAPHRASES)))]


def captions_of(facts: Facts, style: Style = CANONICAL) -> Captions:
    """All captions of a clip from everything that is known of it.

    Of the captions of two shots, half do not tell how what comes back looks: those of clips in a paraphrase.
    """
    return Captions(short_caption(facts, style), rich_caption(facts), shot_captions(facts, recall=style != CANONICAL))


def shot_captions(facts: Facts, *, recall: bool) -> tuple[str, ...]:
    """A caption for each shot; with `recall`, what comes back is `the same object`, so the first shot must be kept."""
    first, *later = facts.brief().shots
    known = {(thing.colour, thing.shape) for thing in first.objects} if recall else set()
    said = [_sentence(shot, CANONICAL, facts.kind, known, recalled=_RECALLED) for shot in later]
    return (_sentence(first, CANONICAL, facts.kind), *said)


def short_caption(facts: Facts, style: Style = CANONICAL) -> str:
    """The objects and what they do: `a red square moves right; cut to a red square falls`."""
    return "; cut to ".join(_sentence(shot, style, facts.kind) for shot in facts.brief().shots)


def rich_caption(facts: Facts) -> str:
    """All known facts, in full sentences."""
    if len(facts.shots) == 1:
        return _paragraph(facts.shots[0], facts.kind)
    parts = []
    for number, shot in enumerate(facts.shots):
        known = {(thing.colour, thing.shape) for thing in facts.shots[0].objects} if number else set()
        parts.append(f"Shot {number + 1}: {_paragraph(shot, facts.kind, known)}")
    return " ".join(parts)


def caption_of(attributes: Attributes) -> str:
    """The canonical caption of a simple scene."""
    thing = ObjectFacts(attributes.colour, attributes.shape, motion=Motion.STRAIGHT, heading=attributes.direction)
    return short_caption(Facts(SceneKind.SIMPLE, (ShotFacts((thing,)),)))


def prompts(count: int, seed: int) -> list[tuple[str, Attributes]]:
    """Canonical prompts with their attributes; combinations come equally often, in an order drawn by the seed."""
    all_of_them = combinations()
    draw = generator(RngStream.PROMPTS, seed)
    order: list[int] = []
    while len(order) < count:
        order.extend(int(i) for i in draw.permutation(len(all_of_them)))
    return [(caption_of(all_of_them[i]), all_of_them[i]) for i in order[:count]]


def _paragraph(shot: ShotFacts, kind: SceneKind | None, known: set[tuple[str | None, str | None]] | None = None) -> str:
    sentence = _sentence(ShotFacts(shot.objects), CANONICAL, kind, known or set())
    parts = [sentence[0].upper() + sentence[1:] + "."]
    if shot.background:
        parts.append(f"The background is {shot.background}.")
    if shot.pan == "still":
        parts.append("The camera is still.")
    elif shot.pan:
        parts.append(f"The camera pans {shot.pan}{_adverb(shot.pan_speed)}.")
    return " ".join(parts)


def _sentence(
    shot: ShotFacts,
    style: Style,
    kind: SceneKind | None,
    known: set[tuple[str | None, str | None]] | None = None,
    recalled: Style = _RECURRING,
) -> str:
    """The objects of a shot and what they do, in one sentence without a full stop; those `known` in another style."""
    naming = [recalled if (thing.colour, thing.shape) in (known or set()) else style for thing in shot.objects]
    if kind is SceneKind.IMAGE:
        names = [one.name(thing).rstrip(",") for one, thing in zip(naming, shot.objects, strict=True)]
        return f"a picture of {_listed(names)}"
    struck = [thing for thing in shot.objects if thing.motion is Motion.STRUCK]
    clauses = []
    for one, thing in zip(naming, shot.objects, strict=True):
        if thing.motion is not Motion.STRUCK:
            other = f" {_struck(struck[0], style)}" if thing.motion is Motion.HIT and struck else ""
            clauses.append(f"{one.name(thing)} {_predicate(thing, one)}{other}")
    camera = f" while the camera pans {shot.pan}" if shot.pan else ""
    return _listed(clauses) + camera


def _listed(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _predicate(thing: ObjectFacts, style: Style) -> str:
    """What an object does, from its verb on."""
    if thing.motion is Motion.STILL:
        return f"{style.verb('stay')} still"
    if thing.motion is Motion.FALL:
        count = f" and {style.verb('bounce')} {COUNTS[thing.rebounds - 1]}" if thing.rebounds else ""
        return f"{style.verb('fall')}{count}"
    moves = f"{style.verb('move')} {thing.heading}{_adverb(thing.speed)}"
    if thing.motion is Motion.BOUNCE:
        walls = ", then the ".join(f"{wall} wall" for wall in thing.walls or ())
        return f"{moves} and {style.verb('bounce')} off the {walls}"
    if thing.motion is Motion.HIT:
        return f"{moves} and {style.verb('hit')}"
    if thing.motion is Motion.PASS:
        return f"{moves} and {style.verb('pass')} behind a screen"
    if thing.motion is Motion.PAINT:
        return f"{moves} and {style.verb('paint')} a {thing.trail} trail"
    return moves


def _struck(thing: ObjectFacts, style: Style) -> str:
    # A bare noun cannot stand after a verb.
    named = CANONICAL if style.noun.startswith("{") else style
    return f"{named.name(thing)}, which goes {thing.heading}"


def _adverb(speed: str | None) -> str:
    return f" {speed}" if speed else ""


def refuse(text: str, reason: str) -> CaptionError:
    """The error for a caption that the grammar does not know."""
    return CaptionError(f"The caption {text[:80]!r} {reason}. Word it as `a red square moves right`.", reason)
