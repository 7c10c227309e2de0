"""A synthetic world with known ground truth, on which a video model is trained and evaluated.

`World` makes scenes from (seed, index), `drawing` draws them, `captions` describes them, and
`kinema_world.reader` reads them back from pixels alone.
"""

from kinema_world.captions import caption_of, prompts, rich_caption, short_caption
from kinema_world.config import ShapeMix, WorldConfig
from kinema_world.drawing import draw, draw_many
from kinema_world.facts import Facts, ObjectFacts, ShotFacts
from kinema_world.geometry import coverage
from kinema_world.parsing import parse_caption
from kinema_world.scene import ClipShape, Scene, Track
from kinema_world.vocabulary import (
    COLOURS,
    DIRECTIONS,
    SHAPES,
    SIZES,
    SPEEDS,
    Attributes,
    Motion,
    SceneKind,
    Video,
    combinations,
)
from kinema_world.world import DrawnClip, World

__all__ = [
    "COLOURS",
    "DIRECTIONS",
    "SHAPES",
    "SIZES",
    "SPEEDS",
    "Attributes",
    "ClipShape",
    "DrawnClip",
    "Facts",
    "Motion",
    "ObjectFacts",
    "Scene",
    "SceneKind",
    "ShapeMix",
    "ShotFacts",
    "Track",
    "Video",
    "World",
    "WorldConfig",
    "caption_of",
    "combinations",
    "coverage",
    "draw",
    "draw_many",
    "parse_caption",
    "prompts",
    "rich_caption",
    "short_caption",
]
