"""What a caption states about a clip, as data that captions, scenes and the reader share.

Facts come from a scene, from a parsed caption, or from the pixels that the reader reads, so that all of these can be
compared attribute by attribute.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from kinema_world.vocabulary import Motion, SceneKind


@dataclass(frozen=True)
class ObjectFacts:
    """One object in one shot. None means "not said" in a caption and "cannot be read" in a reading.

    `heading` and `speed` are those at the start of the motion, for an object that is hit those after it. `walls` are
    those that it bounces off, in order; `rebounds` counts how often it leaves the floor again.
    """

    colour: str | None
    shape: str | None
    size: str | None = None
    motion: Motion | None = None
    heading: str | None = None
    speed: str | None = None
    walls: tuple[str, ...] | None = None
    rebounds: int | None = None
    trail: str | None = None


@dataclass(frozen=True)
class ShotFacts:
    """One shot: its objects, the name of its background, and the camera's pan ("still" for none)."""

    objects: tuple[ObjectFacts, ...]
    background: str | None = None
    pan: str | None = None
    pan_speed: str | None = None


@dataclass(frozen=True)
class Facts:
    """A clip: one shot, or two with a cut between them."""

    kind: SceneKind | None
    shots: tuple[ShotFacts, ...]

    def brief(self) -> "Facts":
        """Only what a short caption says."""
        return replace(self, shots=tuple(_brief(shot) for shot in self.shots))

    def items(self) -> Iterator[tuple[str, object]]:
        """Every stated attribute as (address, value); objects are addressed by colour, since captions are too."""
        yield "kind", self.kind
        for number, shot in enumerate(self.shots):
            for name in ("background", "pan", "pan_speed"):
                if (value := getattr(shot, name)) is not None:
                    yield f"{number}.{name}", value
            for thing in shot.objects:
                yield f"{number}.{thing.colour}.colour", thing.colour
                for name in ("shape", "size", "motion", "heading", "speed", "walls", "rebounds", "trail"):
                    if (value := getattr(thing, name)) is not None:
                        yield f"{number}.{thing.colour}.{name}", value


def _brief(shot: ShotFacts) -> ShotFacts:
    objects = tuple(replace(thing, size=None, speed=None) for thing in shot.objects)
    pan = None if shot.pan == "still" else shot.pan
    return replace(shot, objects=objects, background=None, pan=pan, pan_speed=None)
