"""From a prompt to a clip: everything a server or an evaluation needs of a model folder, in one object."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from kinema_model.artefact import load_model
from kinema_model.codec import make_codec, to_uint8
from kinema_model.errors import PromptError, ShapeError
from kinema_model.latents import whole_clip
from kinema_model.network.pack import Sample
from kinema_model.sampler import Guidance, OnStep, ShouldStop, euler_levels, sample
from kinema_model.text import TextEncoder
from kinema_model.world import Video

DEFAULT_STEPS: Final = 20
DEFAULT_GUIDANCE: Final = 2.0


class Pipeline:
    """A model folder's weights, its codec and the text encoder. Raises `BrokenArtefact` when made."""

    def __init__(
        self,
        folder: Path | str,
        *,
        text_encoder: TextEncoder | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        loaded = load_model(folder, device)
        self.model, self.config = loaded.model, loaded.config
        self.device = torch.device(device)
        self._encoder = text_encoder or TextEncoder()
        self._codec = make_codec(self.config)

    def generate(
        self,
        prompt: str,
        seed: int,
        frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        steps: int = DEFAULT_STEPS,
        guidance_scale: float = DEFAULT_GUIDANCE,
        negative_prompt: str = "",
        on_step: OnStep | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Video:
        """A clip uint8 (T, H, W, 3) of the prompt; the model's own shape where frames or pixels are left out.

        The same arguments give the same clip on the same machine. Raises `PromptError`, `ShapeError` and,
        when `should_stop` said so, `SamplingStopped`.
        """
        clips = self.generate_batch(
            [prompt],
            [seed],
            frames=frames,
            height=height,
            width=width,
            steps=steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
            on_step=on_step,
            should_stop=should_stop,
        )
        clip: Video = clips[0]
        return clip

    def generate_batch(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        steps: int = DEFAULT_STEPS,
        guidance_scale: float = DEFAULT_GUIDANCE,
        negative_prompt: str = "",
        on_step: OnStep | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Video:
        """Clips uint8 (B, T, H, W, 3), one per prompt and seed, denoised together."""
        if any(not isinstance(prompt, str) or not prompt.strip() for prompt in prompts):
            raise PromptError("A prompt is empty. Say in a few words what the clip shows.")
        if any(seed < 0 for seed in seeds):
            raise ShapeError("A seed is negative. Use 0 or a positive number.")
        t, h, w = self.clip_shape(frames, height, width)
        blank = torch.zeros(self._codec.latent_shape(t, h, w))
        clip = whole_clip(self.config, blank, self.config.fps)
        texts = self._encoder.encode(prompts)
        negative = self._encoder.encode([negative_prompt])[0]
        latents = sample(
            self.model,
            [Sample((clip,), text) for text in texts],
            seeds,
            self.config.patch,
            euler_levels(steps, self.config.shift_for(clip.levels.numel())),
            guidance=Guidance(guidance_scale, [negative] * len(texts)),
            device=self.device,
            on_step=on_step,
            should_stop=should_stop,
        )
        return np.asarray(to_uint8(self._codec.decode(torch.stack(latents))).cpu().numpy())

    def clip_shape(
        self, frames: int | None = None, height: int | None = None, width: int | None = None
    ) -> tuple[int, int, int]:
        """Frames, rows and columns of the clip; raises `ShapeError` with the nearest size that works."""
        config = self.config
        return (
            _fitting("frames", config.frames if frames is None else frames, config.patch[0], config.max_frames),
            _fitting("height", config.height if height is None else height, config.patch[1], config.max_side),
            _fitting("width", config.width_px if width is None else width, config.patch[2], config.max_side),
        )


def _fitting(name: str, size: int, multiple: int, limit: int) -> int:
    nearest = min(max(round(size / multiple), 1), limit // multiple) * multiple
    if size == nearest:
        return size
    raise ShapeError(
        f"{name} {size} does not fit this model: it must be a multiple of {multiple} from {multiple} to "
        f"{limit // multiple * multiple}. Use {nearest}."
    )
