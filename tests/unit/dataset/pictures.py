"""Synthetic frames for tests of filters: textured pictures that differ by seed, and move."""

from __future__ import annotations

import cv2
import numpy as np

from kinema_dataset.frames import Frames


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """Blobs of several sizes in colour, float32 (H, W, 3), 0 to 255."""
    draw = np.random.default_rng(seed)
    layers = [
        cv2.resize(draw.normal(0, 1, (n, n, 3)), (width, height), interpolation=cv2.INTER_CUBIC) for n in (3, 6, 24)
    ]
    mixed = layers[0] + layers[1] + 0.5 * layers[2] + draw.normal(0, 0.8, 3)
    return np.asarray((128 + 45 * mixed).clip(5, 250), np.float32)


def panned(seed: int, count: int = 16, height: int = 90, width: int = 120, step: float = 2.0) -> Frames:
    """A window that moves `step` pixels a frame to the right over a picture, with a patch of its own movement."""
    whole = picture(seed, height, width + int(step * count) + 8)
    patch = picture(seed + 1000, height // 4, width // 4)
    frames = []
    for index in range(count):
        shift = np.float32([[1, 0, -step * index], [0, 1, 0]])
        frame = cv2.warpAffine(whole, shift, (width, height), flags=cv2.INTER_LINEAR)
        top = int(height / 3 + height / 4 * np.sin(0.7 * seed + index / 3))
        frame[top : top + len(patch), width // 5 : width // 5 + patch.shape[1]] = patch
        frames.append(frame)
    return np.stack(frames).astype(np.uint8)
