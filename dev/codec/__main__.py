"""Trains the codec "world" and writes its weights: python dev/codec [OUT], about three minutes of one core.

Half of the frames are of simple scenes, half of all other kinds, mirrored and with their channels exchanged at random.
Models hold latents of the weights that they were trained with, so the file in the package is never changed: another
training is another codec, with a name of its own.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from kinema_model.codec.world import WEIGHTS_FILE, WorldAutoencoder
from kinema_world import SceneKind, ShapeMix, World, WorldConfig

ROOT = Path(__file__).resolve().parents[2]
PACKAGED = ROOT / "model" / "kinema_model" / "codec" / WEIGHTS_FILE
STEPS: Final = 5000
RATE: Final = 3e-3
FRAMES: Final = 96
SIDE: Final = 24
"""Pixels of a side of simple frames; others are cut to windows of `WINDOW`."""
WINDOW: Final = 32
MOST_NOISE: Final = 0.5
"""Latents are decoded with noise of up to this deviation, seven times in ten."""
_CLEAN_SHARE: Final = 0.3
_ABSOLUTE: Final = 0.05
_SIMPLE_CLIPS: Final = 4800
_OTHER_CLIPS: Final = 1800
_FRAMES_OF_A_CLIP: Final = 4
_FOLLOWS: Final = 0.05


def simple_frames() -> Tensor:
    """uint8 (F, H, W, 3) of simple scenes."""
    world = World.fixed(1_000_001, 8, SIDE, SIDE, 8)
    return torch.cat(
        [clip for first in range(0, _SIMPLE_CLIPS, 96) for clip, _ in world.clips(range(first, first + 96))]
    )


def other_frames(draw: np.random.Generator) -> Tensor:
    """uint8 (F, WINDOW, WINDOW, 3): windows of frames of all other kinds of scenes, at whole patches."""
    kinds = {kind: 1.0 for kind in SceneKind if kind is not SceneKind.SIMPLE}
    shapes = ShapeMix(frames=(1, 16), fps=(8,), sides=(WINDOW, 64))
    world = World(WorldConfig(seed=1_000_002, split="train", kinds=kinds, shapes=shapes))
    windows = []
    for first in range(0, _OTHER_CLIPS, 30):
        for clip, _ in world.clips(range(first, first + 30)):
            frames = draw.choice(len(clip), min(_FRAMES_OF_A_CLIP, len(clip)), replace=False)
            top, left = (8 * int(draw.integers((side - WINDOW) // 8 + 1)) for side in clip.shape[1:3])
            windows.append(clip[frames, top : top + WINDOW, left : left + WINDOW])
    return torch.cat(windows)


def batches(simple: Tensor, other: Tensor, draw: np.random.Generator) -> Iterator[Tensor]:
    """Frames (F, 3, H, W) in [-1, 1] without end: of simple scenes, and of others, by turns."""
    while True:
        for pool, count in ((simple, FRAMES), (other, FRAMES * SIDE**2 // WINDOW**2)):
            frames = pool[torch.from_numpy(draw.integers(len(pool), size=count))]
            frames = (frames.float() / 127.5 - 1).permute(0, 3, 1, 2)
            yield frames[:, torch.from_numpy(draw.permutation(3))].flip(3 if draw.random() < 0.5 else ())


def normed(model: WorldAutoencoder, frames: Tensor) -> Tensor:
    """Latents by the statistics of these frames, which the codec's own follow."""
    told = model.features(frames)
    mean, deviation = told.mean((0, 2, 3)), told.std((0, 2, 3)) + 1e-4
    with torch.no_grad():
        model.mean.lerp_(mean, _FOLLOWS)
        model.deviation.lerp_(deviation, _FOLLOWS)
    return (told - mean[:, None, None]) / deviation[:, None, None]


def train(model: WorldAutoencoder, frames: Iterator[Tensor]) -> None:
    """All steps; prints the loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, betas=(0.9, 0.95))
    begun, losses = time.process_time(), []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        clean = next(frames)
        latents = normed(model, clean)
        level = MOST_NOISE * torch.rand(len(latents), 1, 1, 1) * (torch.rand(len(latents), 1, 1, 1) > _CLEAN_SHARE)
        drawn = model.decode(latents + level * torch.randn_like(latents))
        loss = F.mse_loss(drawn, clean) + _ABSOLUTE * F.l1_loss(drawn, clean)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 500 == 499:
            seconds = time.process_time() - begun
            print(f"step {step + 1}: loss {np.mean(losses[-500:]):.4f}, {seconds:.0f} s", flush=True)


@torch.no_grad()
def fix_statistics(model: WorldAutoencoder, simple: Tensor) -> None:
    """Mean 0 and variance 1 over frames of simple scenes."""
    told = model.features((simple[::7].float() / 127.5 - 1).permute(0, 3, 1, 2))
    model.mean.copy_(told.mean((0, 2, 3)))
    model.deviation.copy_(told.std((0, 2, 3)))


def decibels(model: WorldAutoencoder, frames: Tensor) -> float:
    """Peak signal to noise ratio of frames uint8 (F, H, W, 3)."""
    clean = (frames.float() / 127.5 - 1).permute(0, 3, 1, 2)
    with torch.no_grad():
        return -10 * math.log10(F.mse_loss(model.decode(model.encode(clean)).clamp(-1, 1), clean) / 4)


def main() -> int:
    """Train, print how near pictures come back, and write the weights in half precision."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    simple, other = simple_frames(), other_frames(draw)
    print(f"{len(simple)} frames of simple scenes, {len(other)} of others", flush=True)
    model = WorldAutoencoder()
    train(model, batches(simple, other, draw))
    fix_statistics(model, simple)
    print(f"simple scenes {decibels(model, simple[:400]):.1f} dB, others {decibels(model, other[:400]):.1f} dB")
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGED
    save_file({name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}, out)
    print(f"{out}: {out.stat().st_size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
