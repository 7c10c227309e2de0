"""Clips for tests of watermarks: textures of several sizes that move, without a camera or a file."""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt

Video = npt.NDArray[np.uint8]


def textured(seed: int, count: int = 48, height: int = 240, width: int = 416, step: float = 2.5) -> Video:
    """A window that moves over smooth noise of three sizes, uint8 (T, H, W, 3)."""
    draw = np.random.default_rng(seed)
    wide = width + int(step * count) + 2
    whole = np.full((height, wide, 3), 120.0, np.float32)
    for cells, strength in ((4, 40), (16, 20), (60, 8)):
        noise = draw.normal(0, strength, (cells, round(cells * wide / height), 3))
        rows, columns = (np.arange(side) * of // side for side, of in ((height, cells), (wide, noise.shape[1])))
        whole += noise[np.ix_(rows, columns)]
    frames = [whole[:, int(step * index) : int(step * index) + width] for index in range(count)]
    return np.stack(frames).clip(0, 255).astype(np.uint8)


def scaled(video: Video, height: int, width: int) -> Video:
    """The clip at another size."""
    frames = (av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24") for pixels in video)
    return np.stack([frame.reformat(width=width, height=height).to_ndarray() for frame in frames])


def psnr(before: Video, after: Video) -> float:
    """Peak signal-to-noise ratio over a clip in dB."""
    error = np.mean((before.astype(np.float32) - after) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))
