"""Features of clips without a trained network: where which colours are, edges by scale and direction, and motion.

No weights of a network that knows photographs come with this package. These few numbers tell clips of different
content apart and grow apart with blur, noise, frames out of order and clips of another source, which the page shows
beside every distance. They know nothing of what things are: two scenes of equal colours and motion look alike to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from kinema_world import Video

Floats = npt.NDArray[np.float64]

_SIDE: Final = 64
_GRID: Final = 4
_SCALES: Final = (1, 2, 4)
_DIRECTIONS: Final = 4
_LAGS: Final = (1, 2, 4)
# Energies are compared by their logarithm; below this share of the range nothing can be seen.
_LEAST: Final = 1e-3
_LEAST_SPREAD: Final = 1e-3
_MOST_AXES: Final = 16


@dataclass(frozen=True)
class FeatureSpace:
    """Features in units of their spread over training clips, and the axes along which those differ most."""

    mean: Floats
    spread: Floats
    axes: Floats

    @classmethod
    def of(cls, clips: Sequence[Video], others: int) -> "FeatureSpace":
        """The space of training clips; sets of `others` clips are to be compared in it."""
        raw = np.stack([features(clip) for clip in clips])
        mean, spread = raw.mean(axis=0), np.maximum(raw.std(axis=0), _LEAST_SPREAD)
        _, _, rows = np.linalg.svd((raw - mean) / spread, full_matrices=False)
        # A covariance of few clips has no more directions than that.
        return cls(mean, spread, rows[: max(1, min(_MOST_AXES, others // 4, len(rows)))])

    def standard(self, clips: Sequence[Video]) -> Floats:
        """(n, D) features of clips uint8 (T, H, W, 3), each in units of its spread."""
        return np.stack([(features(clip) - self.mean) / self.spread for clip in clips])

    def reduced(self, clips: Sequence[Video]) -> Floats:
        """(n, d) the same along the main axes, few enough for a covariance of so many clips."""
        return np.asarray(self.standard(clips) @ self.axes.T)


def features(clip: Video) -> Floats:
    """(D,) of a clip uint8 (T, H, W, 3)."""
    colours = _opponent(clip)
    light = colours[:, :1]
    parts = [F.adaptive_avg_pool2d(colours.mean(dim=0), _GRID).flatten(), *_edges(light), *_motion(light)]
    return np.asarray(torch.cat([part.flatten() for part in parts]).double().numpy())


def appearance(clip: Video) -> Floats:
    """(T, d) what each frame looks like: its colours by place, and its edges."""
    colours = _opponent(clip)
    rows = [
        torch.cat(
            [F.adaptive_avg_pool2d(frame, _GRID).flatten(), *(edge.flatten() for edge in _edges(frame[None, :1]))]
        )
        for frame in colours
    ]
    return np.asarray(torch.stack(rows).double().numpy())


def light_of(clip: Video, side: int) -> Floats:
    """(T, side, side) mean lightness in [0, 1] by place of a clip uint8 (T, H, W, 3)."""
    small = F.adaptive_avg_pool2d(torch.from_numpy(clip).permute(0, 3, 1, 2).float() / 255, side)
    return np.asarray(small.mean(dim=1).double().numpy())


def _opponent(clip: Video) -> Tensor:
    """(T, 3, 64, 64): lightness, red against green, blue against yellow."""
    frames = torch.from_numpy(np.ascontiguousarray(clip)).permute(0, 3, 1, 2).float() / 255
    small = F.interpolate(frames, (_SIDE, _SIDE), mode="bilinear", align_corners=False, antialias=True)
    red, green, blue = small.unbind(dim=1)
    return torch.stack(((red + green + blue) / 3, red - green, blue - (red + green) / 2), dim=1)


def _edges(light: Tensor) -> list[Tensor]:
    """Log energies of gradients of (T, 1, H, W) by scale, each (directions,)."""
    found = []
    for scale in _SCALES:
        small = F.avg_pool2d(light, scale)[:, 0]
        across, down = small.diff(dim=2)[:, :-1], small.diff(dim=1)[:, :, :-1]
        # Twice the angle, so that both sides of a line count alike.
        angle = torch.atan2(down, across) * 2
        strength = across.square() + down.square()
        bins = [
            (strength * torch.relu(torch.cos(angle - 2 * torch.pi * number / _DIRECTIONS))).mean().sqrt()
            for number in range(_DIRECTIONS)
        ]
        found.append(torch.log(torch.stack(bins) + _LEAST))
    return found


def _motion(light: Tensor) -> list[Tensor]:
    """Log energies of changes over some frames, of changes of these, and the mean way along gradients."""
    found = []
    for scale in (_SCALES[0], _SCALES[-1]):
        small = F.avg_pool2d(light, scale)[:, 0]
        for lag in _LAGS:
            apart = (small[lag:] - small[:-lag]).abs().mean() if len(small) > lag else torch.zeros(())
            found.append(torch.log(apart + _LEAST))
        bends = small.diff(n=2, dim=0).abs().mean() if len(small) > 2 else torch.zeros(())
        found.append(torch.log(bends + _LEAST))
    small = F.avg_pool2d(light, _SCALES[-1])[:, 0]
    across, down = small.diff(dim=2)[:-1, :-1], small.diff(dim=1)[:-1, :, :-1]
    changes, energy = small.diff(dim=0)[:, :-1, :-1], (across.square() + down.square()).mean() + _LEAST**2
    found += [-(changes * across).mean() / energy, -(changes * down).mean() / energy]
    return found
