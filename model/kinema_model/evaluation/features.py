"""A frozen network whose features tell clips apart by what is in them: it was trained to regress the world's state.

Distances between clips need features that follow what matters here (what is where, when, in which colour and shape),
and no network that was trained on photographs knows this world. So a small one is trained once on true clips of the
model's own shape, kept in the user's cache folder, and refused where it explains less than 0.9 of the state.
"""

import hashlib
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

from kinema_model.draws import Stream, generator
from kinema_model.evaluation.plan import true_clips
from kinema_model.world import COLOURS, SHAPES, Scene, Video, World, WorldConfig
from kinema_model.world.vocabulary import BACKGROUNDS

Floats = npt.NDArray[np.float64]

LEAST_R2: Final = 0.9
_PER_COLOUR: Final = 10
# Of colours in [0, 1]: those of objects are 0.7 apart or more, those of the ground 0.26.
_OBJECT_NEARNESS: Final = 0.2
_GROUND_NEARNESS: Final = 0.08
_FRAMES: Final = 5
_SIDE: Final = 32
_MOMENTS: Final = 3
_OBJECT_STATES: Final = 1 + len(SHAPES) + 2 * _MOMENTS
_CLIPS: Final = 8192
_HELD_BACK: Final = 256
_BATCH: Final = 32
_EPOCHS: Final = 3
_RATE: Final = 2e-3
# A change of what is trained is another network in the cache.
_VERSION: Final = 1
_SEED: Final = 2**41
_LEAST_SPREAD: Final = 1e-3


@dataclass(frozen=True)
class FeatureNet:
    """The frozen network, the share of the state's variance that it explains on clips it never saw, and its name."""

    net: "StateNet"
    r2: float
    digest: str

    def features(self, clips: Sequence[Video]) -> Floats:
        """(n, D) of clips uint8 (T, H, W, 3), of any shapes."""
        with torch.inference_mode():
            parts = [self.net.features(shrunk(clips[i : i + _BATCH])) for i in range(0, len(clips), _BATCH)]
        return np.asarray(torch.cat(parts).double().numpy())


class StateNet(nn.Module):
    """Follows each colour of the palette with the same weights: maps of where it is, frame by frame, then all frames.

    Objects of a scene differ in colour, so this is one network that looks at one object at a time. The last hidden
    layer of all colours and what is told of the ground are the features.
    """

    palette: Tensor
    grounds: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, colours in (("palette", COLOURS), ("grounds", BACKGROUNDS)):
            values = torch.tensor(list(colours.values()), dtype=torch.float32) / 255
            self.register_buffer(name, values, persistent=False)
        self.frame = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(16, 24, 3, 2, 1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(24 * (_SIDE // 4) ** 2, 48),
            nn.GELU(),
        )
        self.time = nn.Sequential(nn.Linear(48 * _FRAMES, 96), nn.GELU(), nn.Linear(96, _PER_COLOUR), nn.GELU())
        self.object = nn.Linear(_PER_COLOUR, _OBJECT_STATES)
        self.ground = nn.Linear(len(BACKGROUNDS), len(BACKGROUNDS))

    def features(self, frames: Tensor) -> Tensor:
        """(B, 6 * 10 + 5) of frames (B, 5, 3, 32, 32) in [0, 1]."""
        there = _near(frames, self.palette, _OBJECT_NEARNESS)
        each = self.frame(there.transpose(1, 2).reshape(-1, 1, _SIDE, _SIDE))
        objects: Tensor = self.time(each.view(len(frames) * len(COLOURS), -1))
        ground = self.ground(_near(frames, self.grounds, _GROUND_NEARNESS).mean(dim=(1, 3, 4)))
        return torch.cat((objects.view(len(frames), -1), ground), dim=1)

    def forward(self, frames: Tensor) -> Tensor:
        """States (B, K) as `state` has them."""
        features = self.features(frames)
        objects, ground = features[:, : -len(BACKGROUNDS)], features[:, -len(BACKGROUNDS) :]
        told = self.object(objects.view(len(frames), len(COLOURS), _PER_COLOUR))
        return torch.cat((told.flatten(1), ground), dim=1)


def _near(frames: Tensor, colours: Tensor, nearness: float) -> Tensor:
    """How near each pixel is to each colour (K, 3): (B, 5, K, 32, 32) in [0, 1] of frames (B, 5, 3, 32, 32)."""
    apart = (frames[:, :, None] - colours[:, :, None, None]).square().sum(dim=3)
    return torch.exp(-apart / (2 * nearness**2))


def shrunk(clips: Sequence[Video]) -> Tensor:
    """Five frames of each clip uint8 (T, H, W, 3), evenly in time and brought to 32 x 32: (B, 5, 3, 32, 32)."""
    small = []
    for clip in clips:
        chosen = clip[np.linspace(0, len(clip) - 1, _FRAMES).round().astype(int)]
        frames = torch.from_numpy(chosen).permute(0, 3, 1, 2).float() / 255
        small.append(F.adaptive_avg_pool2d(frames, _SIDE) if frames.shape[-2:] != (_SIDE, _SIDE) else frames)
    return torch.stack(small)


def state(scene: Scene) -> Floats:
    """What is to be told of a clip: of each colour whether it is there, its shape and where at three moments; ground.

    Places are shares of the frame around its middle and 0 for what is not in view.
    """
    last = scene.shape.frames - 1
    moments = [round(last * part / (_MOMENTS - 1)) for part in range(_MOMENTS)]
    values = np.zeros((len(COLOURS), _OBJECT_STATES))
    ground = np.zeros(len(BACKGROUNDS))
    for shot in scene.shots:
        ground[list(BACKGROUNDS).index(shot.background)] += shot.frames / scene.shape.frames
        for track in shot.tracks:
            entry = values[list(COLOURS).index(track.look.colour)]
            entry[0] = 1
            entry[1 + SHAPES.index(track.look.shape)] = 1
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
        net = StateNet()
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
    # What never changes in this world cannot be explained.
    spread = states[:clips].std(dim=0)
    told = spread > _LEAST_SPREAD
    weights = torch.where(told, 1 / spread.clamp(min=_LEAST_SPREAD), 0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = StateNet()
    _fit(net, frames[:clips], states[:clips], weights, epochs, on_progress)
    net.eval().requires_grad_(False)
    left, true = net(frames[clips:])[:, told], states[clips:, told]
    explained = 1 - ((left - true) ** 2).sum(dim=0) / ((true - true.mean(dim=0)) ** 2).sum(dim=0).clamp(min=1e-6)
    return net, float(explained.mean())


def varied(frames: Tensor, states: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Half of the clips from right to left, half of them from their end, with the states that are true then."""
    objects = states[:, : -len(BACKGROUNDS)].view(len(states), len(COLOURS), _OBJECT_STATES).clone()
    places = objects[:, :, 1 + len(SHAPES) :].view(len(states), len(COLOURS), _MOMENTS, 2)
    mirrored, reversed_ = (torch.from_numpy(draw.random(len(states)) < 0.5) for _ in range(2))
    places[mirrored, :, :, 0] *= -1
    places[reversed_] = places[reversed_].flip(2)
    seen = torch.where(mirrored[:, None, None, None, None], frames.flip(4), frames)
    seen = torch.where(reversed_[:, None, None, None, None], seen.flip(1), seen)
    return seen, torch.cat((objects.flatten(1), states[:, -len(BACKGROUNDS) :]), dim=1)


def _fit(
    net: StateNet,
    frames: Tensor,
    states: Tensor,
    weights: Tensor,
    epochs: int,
    on_progress: Callable[[int, int], None],
) -> None:
    steps = epochs * (len(frames) // _BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    step = 0
    for epoch in range(epochs):
        order = generator(Stream.EVALUATION, 0, epoch).permutation(len(frames))
        for first in range(0, len(frames) - _BATCH + 1, _BATCH):
            part = order[first : first + _BATCH]
            seen, told = varied(frames[part], states[part], generator(Stream.EVALUATION, 1, step))
            loss = F.mse_loss(net(seen) * weights, told * weights)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            step += 1
        on_progress(step, steps)
