"""A frozen network for distances between clips, trained to regress the state of the world.

The features must depend on what matters here (colour, shape, position and time of objects), and no network trained on
photographs knows this world. So a small one is trained once on true clips of the model's own shape, kept in the user's
cache folder, and refused where it explains less than 0.9 of the variance of the state.
"""

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema_evaluation.plan import true_clips
from kinema_model.rng import RngStream, generator
from kinema_world import COLOURS, SHAPES, Scene, Video, World, WorldConfig
from kinema_world.vocabulary import BACKGROUNDS

Floats = npt.NDArray[np.float64]

LEAST_R2: Final = 0.9
WIDTH: Final = 64
# An odd number, so that the middle of the clip, of which the state tells, is among them.
_FRAMES: Final = 9
_SIDE: Final = 32
# Features of each colour and of the ground.
_SLOT: Final = 10
_GROUND: Final = WIDTH - _SLOT * len(COLOURS)
_SHAPE_FEATURES: Final = 32
_CROP: Final = 16
# A colour counts as near below this distance in [-1, 1]^3, in which no two of the world's are nearer than 1.4.
_NEAR: Final = 1.15
# A colour is in a clip where a pixel comes so near to it, and in a frame where so many pixels do.
_THERE: Final = 0.3
_LEAST_AREA: Final = 0.5
# How sharply a mean colour is assigned to one of the backgrounds.
_SHARP: Final = 20.0
# Half the side of a crop in radii of a disc of the object's area.
_MARGIN: Final = 1.5
_MOMENTS: Final = 3
_CLIPS: Final = 8192
_HELD_BACK: Final = 256
_BATCH: Final = 64
_EPOCHS: Final = 5
_RATE: Final = 3e-3
# A change of what is trained is another network in the cache.
_VERSION: Final = 2
_SEED: Final = 2**41


@dataclass(frozen=True)
class FeatureNet:
    """The frozen network, the share of the state's variance that it explains on clips it never saw, and its name."""

    net: "StateNet"
    r2: float
    digest: str

    def features(self, clips: Sequence[Video]) -> Floats:
        """(n, 64) of clips uint8 (T, H, W, 3), of any shapes."""
        with torch.inference_mode():
            parts = [self.net.features(shrunk(clips[i : i + _BATCH])) for i in range(0, len(clips), _BATCH)]
        return np.asarray(torch.cat(parts).double().numpy())


class StateNet(nn.Module):
    """A network over the map of each colour in each frame, then over all frames; its last hidden layer is the features.

    Objects of a clip differ in colour, so a map of how near each pixel is to a colour holds one object (as the slots of
    arXiv:2006.15055, with colours for keys). A crop around its middle, as large as its area, tells its shape wherever
    it is (a spatial transformer, arXiv:1506.02025). All colours share these weights; one that is nowhere is zeros.
    """

    def __init__(self, states: int) -> None:
        super().__init__()
        self.palette, self.grounds = (torch.tensor(list(of.values())) / 127.5 - 1 for of in (COLOURS, BACKGROUNDS))
        self.look = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(32 * (_CROP // 4) ** 2, _SHAPE_FEATURES),
            nn.GELU(),
        )
        seen = _FRAMES * (_SHAPE_FEATURES + 3)
        # Where all clips begin alike, half a pixel must weigh as much as a third of the frame does later.
        self.slot = nn.Sequential(nn.BatchNorm1d(seen), nn.Linear(seen, 128), nn.GELU(), nn.Linear(128, _SLOT))
        self.ground = nn.Linear(len(BACKGROUNDS) * _FRAMES, _GROUND)
        self.states = nn.Linear(WIDTH, states)

    def features(self, frames: Tensor) -> Tensor:
        """(B, 64) of frames (B, 9, 3, 32, 32) in [-1, 1]."""
        apart = (frames[:, :, None] - self.palette[:, :, None, None]).square().sum(dim=3).sqrt()
        near = (1 - apart / _NEAR).clamp(min=0)
        free = 1 - near.amax(dim=2)
        mean = (frames * free[:, :, None]).sum(dim=(3, 4)) / (free.sum(dim=(2, 3))[:, :, None] + 1e-3)
        ground = (-_SHARP * (mean[:, :, None] - self.grounds).square().sum(dim=3)).softmax(dim=2)
        maps = near.transpose(1, 2).flatten(0, 1)
        there = (maps.amax(dim=(1, 2, 3)) > _THERE).nonzero()[:, 0]
        slots = torch.zeros(len(maps), _SLOT).index_copy(0, there, self.slot(self._followed(maps[there])))
        return torch.cat((slots.view(len(frames), -1), self.ground(ground.flatten(1))), dim=1)

    def _followed(self, maps: Tensor) -> Tensor:
        """(n, 9 x 35): of maps (n, 9, 32, 32) the shape features in each frame, the middle in [-1, 1], and the area."""
        along = (torch.arange(_SIDE) + 0.5) / _SIDE * 2 - 1
        area = maps.sum(dim=(2, 3))
        enough = (area > _LEAST_AREA).float()
        middle = torch.stack(((maps.sum(dim=2) * along).sum(dim=2), (maps.sum(dim=3) * along).sum(dim=2)), dim=2)
        middle = middle / area.clamp(min=_LEAST_AREA)[..., None]
        half = _MARGIN * (area.clamp(min=_LEAST_AREA) / math.pi).sqrt() * 2 / _SIDE
        window = torch.cat((torch.diag_embed(half[..., None].expand(-1, -1, 2)), middle[..., None]), dim=3).flatten(
            0, 1
        )
        grid = F.affine_grid(window, [len(window), 1, _CROP, _CROP], align_corners=False)
        shapes = self.look(F.grid_sample(maps.reshape(-1, 1, _SIDE, _SIDE), grid, align_corners=False))
        seen = torch.cat((shapes.view(*area.shape, _SHAPE_FEATURES), middle), dim=2) * enough[..., None]
        return torch.cat((seen, area[..., None] / _SIDE**2 * 10), dim=2).flatten(1)

    def forward(self, frames: Tensor) -> Tensor:
        """The predicted states (B, S), standardised, of clips (B, 9, 3, 32, 32) from `shrunk`."""
        predicted: Tensor = self.states(self.features(frames))
        return predicted


def shrunk(clips: Sequence[Video]) -> Tensor:
    """Nine frames of each clip uint8 (T, H, W, 3), evenly in time and resized to 32 x 32: (B, 9, 3, 32, 32)."""
    small = []
    for clip in clips:
        chosen = clip[np.linspace(0, len(clip) - 1, _FRAMES).round().astype(int)]
        frames = torch.from_numpy(chosen).permute(0, 3, 1, 2).float() / 127.5 - 1
        # Unlike a mean over whole pixels, this leaves the middle of an object where it is.
        small.append(F.interpolate(frames, (_SIDE, _SIDE), mode="bilinear", align_corners=False, antialias=True))
    return torch.stack(small)


def state(scene: Scene) -> Floats:
    """The state (S,) of a clip: for each colour its presence, shape and positions, then the backgrounds.

    Positions are taken at three times, in [-1, 1] over the frame, times the visible share of the object. A background
    has the share of frames in which it is shown.
    """
    last = scene.shape.frames - 1
    moments = [round(last * part / (_MOMENTS - 1)) for part in range(_MOMENTS)]
    values = np.zeros((len(COLOURS), 1 + len(SHAPES) + 2 * _MOMENTS))
    ground = np.zeros(len(BACKGROUNDS))
    for shot in scene.shots:
        ground[list(BACKGROUNDS).index(shot.background)] += shot.frames / scene.shape.frames
        for track in shot.tracks:
            entry = values[list(COLOURS).index(track.appearance.colour)]
            entry[0] = 1
            entry[1 + SHAPES.index(track.appearance.shape)] = 1
            for number, moment in enumerate(moments):
                frame = moment - shot.first
                if 0 <= frame < shot.frames:
                    place = track.positions[frame] / (scene.shape.width, scene.shape.height) - 0.5
                    entry[1 + len(SHAPES) + 2 * number :][:2] = 2 * place * track.visible[frame]
    return np.concatenate((values.ravel(), ground))


def feature_net(world: WorldConfig, cache: Path | None, on_progress: Callable[[int, int], None]) -> FeatureNet:
    """The network for a world of one shape, from the cache or trained now: under two minutes of one thread."""
    digest = hashlib.sha256(f"{_VERSION} {world.model_dump_json()}".encode()).hexdigest()[:16]
    path = (cache or default_cache()) / f"{digest}.pt"
    if path.is_file():
        stored = torch.load(path, weights_only=True)
        net = StateNet(len(stored["weights"]["states.bias"]))
        net.load_state_dict(stored["weights"])
        return FeatureNet(net.eval(), float(stored["r2"]), digest)
    trained, r2 = train(world.model_copy(update={"seed": _SEED}), on_progress, clips=_CLIPS, epochs=_EPOCHS)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    torch.save({"weights": trained.state_dict(), "r2": r2}, partial)
    partial.replace(path)
    return FeatureNet(trained, r2, digest)


def default_cache() -> Path:
    """The folder below the user's cache in which trained networks are kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kinema" / "features"


def train(
    world: WorldConfig, on_progress: Callable[[int, int], None], *, clips: int, epochs: int
) -> tuple[StateNet, float]:
    """A network for clips of this world, and its R2 on clips of it that it was not trained on. Deterministic."""
    scenes = [World(world).scene(index) for index in range(clips + _HELD_BACK)]
    frames = torch.cat([shrunk(true_clips(scenes[i : i + _BATCH])) for i in range(0, len(scenes), _BATCH)])
    states = torch.from_numpy(np.stack([state(scene) for scene in scenes])).float()
    spread = states[:clips].std(dim=0)
    varying = spread > 1e-3
    states = ((states - states[:clips].mean(dim=0)) / spread)[:, varying]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = StateNet(int(varying.sum()))
    _fit(net, frames[:clips], states[:clips], epochs, on_progress)
    net.eval().requires_grad_(False)
    left, true = net(frames[clips:]), states[clips:]
    explained = 1 - ((left - true) ** 2).sum(dim=0) / ((true - true.mean(dim=0)) ** 2).sum(dim=0).clamp(min=1e-6)
    return net, float(explained.mean())


def _fit(net: StateNet, frames: Tensor, states: Tensor, epochs: int, on_progress: Callable[[int, int], None]) -> None:
    steps = epochs * (len(frames) // _BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    step = 0
    for epoch in range(epochs):
        order = generator(RngStream.EVALUATION, 0, epoch).permutation(len(frames))
        for first in range(0, len(frames) - _BATCH + 1, _BATCH):
            part = order[first : first + _BATCH]
            loss = F.mse_loss(net(frames[part]), states[part])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            step += 1
        on_progress(step, steps)
