"""Puts a watermark into frames, one after another, so that a server can do it just before its encoder.

The mark changes brightness only: the same amount is added to red, green and blue. How much depends on the frame:
little where it is flat or dark and the eye would notice, more where there is texture. The largest amount bounds the
loss: PSNR is above 38 dB by construction.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from kinema_safety.errors import ClipTooSmall, WatermarkRefused
from kinema_safety.watermark import grid
from kinema_safety.watermark.convolution import Floats
from kinema_safety.watermark.pattern import CYCLES_PER_SECOND, TILE, PatternKey, phases

Video = npt.NDArray[np.uint8]

LEAST_AMPLITUDE: Final = 2.2
"""Peak change of a flat cell, of 255."""
MOST_AMPLITUDE: Final = 6.0
"""Peak change of any cell. With linear interpolation (2/3 of it on average over cells) and a sine in time, the root
mean square over a clip is at most 6 * 2/3 / sqrt(2) = 2.83, with rounding 2.85: 39 dB."""
PER_ACTIVITY: Final = 0.25
"""Further amplitude per grey level of mean difference between neighbouring pixels."""
_DARK: Final = 40.0
"""Mean brightness below which amplitudes shrink, to half at black."""
_SAMPLES_PER_CELL: Final = 4
_ZERO: Final = 128


class Embedder:
    """Embeds one payload into the frames of one clip, in order."""

    def __init__(self, shape: tuple[int, int], fps: float, payload: int, key: PatternKey) -> None:
        """For frames of (height, width) at that many frames per second. Any length is embedded: see `grid.capacity`.

        Raises `WatermarkRefused` for a shape or rate that is none.
        """
        height, width = shape
        if min(height, width) < 2 or not fps > 0:
            raise WatermarkRefused(
                f"shape, fps: {width}x{height} at {fps:g} is no clip; give pixels and frames per second."
            )
        self._shape, self._fps = shape, fps
        size = grid.cell_size(height, width)
        self._rows, self._columns = grid.interpolation(height, size), grid.interpolation(width, size)
        tile = phases(payload, key)
        places = np.ix_((np.arange(self._rows.count) - 1) % TILE, (np.arange(self._columns.count) - 1) % TILE)
        self._cells = tile[places]
        self._step = max(1, int(size // _SAMPLES_PER_CELL))
        self._edges = [grid.edges(-(-side // self._step), size / self._step) for side in shape]
        self._index = 0

    def frame(self, pixels: Video) -> Video:
        """The next frame, uint8 (H, W, 3), with the mark. Raises `WatermarkRefused` for another shape."""
        if pixels.shape != (*self._shape, 3) or pixels.dtype != np.uint8:
            raise WatermarkRefused(
                f"frame: {pixels.dtype} {pixels.shape} is no frame of this clip; give uint8 (H, W, 3)."
            )
        turn = np.exp(-2j * np.pi * CYCLES_PER_SECOND * self._index / self._fps)
        self._index += 1
        change = self._amplitude(pixels) * (self._cells * np.complex64(turn)).real
        return _added(pixels, self._enlarged(change))

    def _amplitude(self, pixels: Video) -> Floats:
        """Peak change of each cell, float32, with the cells beyond the border."""
        green = pixels[:: self._step, :: self._step, 1].astype(np.int16)
        activity = np.zeros(green.shape, np.int16)
        activity[:, 1:] += np.abs(green[:, 1:] - green[:, :-1])
        activity[1:] += np.abs(green[1:] - green[:-1])
        busy, bright = (_cell_means(plane, *self._edges) for plane in (activity, green))
        amplitude = np.minimum(LEAST_AMPLITUDE + PER_ACTIVITY / 2 * busy, MOST_AMPLITUDE)
        amplitude *= 0.5 + 0.5 * np.minimum(bright / _DARK, 1)
        after = (self._rows.count - 1 - len(amplitude), self._columns.count - 1 - amplitude.shape[1])
        return np.pad(amplitude, ((1, after[0]), (1, after[1])), mode="edge")

    def _enlarged(self, cells: Floats) -> Floats:
        """Cells as pixels, float32 (H, W)."""
        first, share = self._columns.first, self._columns.share
        wide = cells[:, first] + share * (cells[:, first + 1] - cells[:, first])
        first, share = self._rows.first, self._rows.share
        return np.asarray(wide[first] + share[:, None] * (wide[first + 1] - wide[first]))


def embed(video: Video, fps: float, payload: int, key: PatternKey) -> Video:
    """The clip uint8 (T, H, W, 3) with a watermark of 64 bits; PSNR at least 38 dB.

    Raises `ClipTooSmall` if the payload could not be read back, `WatermarkRefused` if it is no clip.
    """
    if video.ndim != 4:
        raise WatermarkRefused(f"video: an array of shape {video.shape} is no clip; give uint8 (T, H, W, 3).")
    room = grid.capacity(len(video), video.shape[1], video.shape[2], fps)
    if not room.sufficient:
        raise ClipTooSmall(f"{room.message} Make it larger or longer, or publish it without a watermark.")
    embedder = Embedder((video.shape[1], video.shape[2]), fps, payload, key)
    return np.stack([embedder.frame(pixels) for pixels in video])


def _cell_means(plane: npt.NDArray[np.int16], rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Floats:
    """Means over cells that begin at these rows and columns."""
    sums = np.add.reduceat(np.add.reduceat(plane, rows, axis=0, dtype=np.int32), columns, axis=1)
    sizes = np.diff(rows, append=plane.shape[0])[:, None] * np.diff(columns, append=plane.shape[1])
    return np.asarray(sums / sizes, np.float32)


def _added(pixels: Video, change: Floats) -> Video:
    """Pixels plus a change of less than 127, rounded and saturated; in bytes, which is several times faster."""
    shifted = np.repeat((change + np.float32(_ZERO + 0.5)).astype(np.uint8), 3, axis=1).reshape(pixels.shape)
    more = np.maximum(shifted, _ZERO) - np.uint8(_ZERO)
    less = np.uint8(_ZERO) - np.minimum(shifted, _ZERO)
    return np.asarray(np.maximum(np.minimum(pixels, 255 - more) + more, less) - less)
