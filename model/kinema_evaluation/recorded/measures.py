"""How a clip moves: dynamic degree, flicker, smoothness and how much its frames stay of one subject.

Named after VBench (Huang et al., CVPR 2024, arXiv:2311.17982), whose measures need networks; these need none and
compare with no figure of it. None is good by being large or small: a still picture flickers least and stays itself
most. So their distribution over clips is held against that of true clips.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from kinema_evaluation.recorded.features import Floats, appearance, light_of
from kinema_world import Video

DYNAMIC: Final = "dynamic degree"
FLICKER: Final = "flicker"
SMOOTHNESS: Final = "smoothness"
CONSISTENCY: Final = "subject consistency"
_SIDE: Final = 32
_BLOCKS: Final = 4
_LEAST_EDGE: Final = 1e-3
_LEAST_MOVE: Final = 1e-4

Measure = Callable[[Video], float]
MEANING: Final[Mapping[str, str]] = MappingProxyType(
    {
        DYNAMIC: "how far edges move from frame to frame, in per cent of the shorter side",
        FLICKER: "by how many of 255 levels the lightness of a sixteenth of the frame jumps and comes back",
        SMOOTHNESS: "what of the change over two frames a middle between both explains: 1 for even motion",
        CONSISTENCY: "how alike in colours and edges frames are to the first and to the one before: 1 for one picture",
    }
)


def dynamic_degree(clip: Video) -> float:
    """Mean way of edges per frame of uint8 (T, H, W, 3), in per cent of the side: the normal flow |I_t| / |grad I|."""
    light = light_of(clip, _SIDE)
    changes = np.abs(np.diff(light, axis=0))[:, :-1, :-1]
    edges = np.hypot(np.diff(light, axis=2)[:-1, :-1], np.diff(light, axis=1)[:-1, :, :-1])
    return float(100 * changes.sum() / max(edges.sum(), _LEAST_EDGE * edges.size) / _SIDE)


def flicker(clip: Video) -> float:
    """Mean second difference of the lightness of sixteenths of the frame, of 255 levels; 0 for one or two frames."""
    return float(255 * np.abs(np.diff(light_of(clip, _BLOCKS), n=2, axis=0)).mean()) if len(clip) > 2 else 0.0


def smoothness(clip: Video) -> float:
    """Share in [0, 1] of the change over two frames that is even; 1 for a still picture and for fewer than three."""
    if len(clip) < 3:
        return 1.0
    light = light_of(clip, _SIDE)
    off = np.abs(light[1:-1] - (light[:-2] + light[2:]) / 2).mean()
    moved = np.abs(light[2:] - light[:-2]).mean() / 2
    return float(1 - off / (off + moved)) if moved + off > _LEAST_MOVE else 1.0


def consistency(centre: Floats, spread: Floats) -> Measure:
    """The measure of consistency in appearances (d,) of frames around a mean, each number in units of its spread."""

    def measure(clip: Video) -> float:
        rows = (appearance(clip) - centre) / spread
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        with_first, with_last = rows[1:] @ rows[0], (rows[1:] * rows[:-1]).sum(axis=1)
        return float((with_first.mean() + with_last.mean()) / 2) if len(rows) > 1 else 1.0

    return measure


def measures_for(clips: Sequence[Video]) -> dict[str, Measure]:
    """All measures, with appearances in units of their spread over the frames of training clips."""
    frames = np.concatenate([appearance(clip) for clip in clips])
    spread = np.maximum(frames.std(axis=0), 1e-3)
    return {
        DYNAMIC: dynamic_degree,
        FLICKER: flicker,
        SMOOTHNESS: smoothness,
        CONSISTENCY: consistency(frames.mean(axis=0), spread),
    }
