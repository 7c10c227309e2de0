"""From a prompt to a clip: what servers and evaluations use of a model folder."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor

from kinema_model.artefact import load_model
from kinema_model.codec.codec import Video, blank_latents, make_codec, to_uint8
from kinema_model.conditions.conditioning import Seam, condition, paste, seams
from kinema_model.conditions.task_inputs import NO_INPUTS, TaskInputs, check_inputs
from kinema_model.conditions.tasks import Task, check_task
from kinema_model.diffusion.sampler import Guidance, OnStep, ShouldStop, euler_levels, sample
from kinema_model.errors import PromptError, ShapeError
from kinema_model.network.pack import Part, Sample
from kinema_model.precision import Precision, precision_for
from kinema_model.streaming.stream import Shot, StreamOptions, stream
from kinema_model.text.encoder import TextEncoder
from kinema_model.text.reading import Reading, known_words, read, vocabulary
from kinema_model.validation import LevelLosses

# Equal to those of kinema_api.clip, which a test checks, so that evaluations measure what clients get.
DEFAULT_STEPS: Final = 16
DEFAULT_GUIDANCE: Final = 2.0


# An edit keeps motion and composition; a blend has more to generate.
DEFAULT_STRENGTHS: Final = {Task.EDIT: 0.7, Task.BLEND: 0.85}


@dataclass(frozen=True)
class Completed:
    """A clip uint8 (T, H, W, 3) with its inputs pasted in, and its seams before that."""

    video: Video
    seams: tuple[Seam, ...]


class Asked(TypedDict, total=False):
    """Options of a clip: frames, pixels, frames per second and Euler steps. Those left out or None have defaults."""

    frames: int | None
    height: int | None
    width: int | None
    fps: int | None
    steps: int
    guidance_scale: float
    guidance_rescale: float
    negative_prompt: str
    on_step: OnStep | None
    should_stop: ShouldStop | None


def _no_texts(_: Path) -> Iterable[str]:
    return ()


class Pipeline:
    """A model folder's weights, its codec and the text encoder. Raises `BrokenArtefact` when made.

    `texts` returns the training texts of a model from its folder, for a folder without a list of words.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        text_encoder: TextEncoder | None = None,
        device: torch.device | str = "cpu",
        texts: Callable[[Path], Iterable[str]] = _no_texts,
        precision: Precision = "auto",
    ) -> None:
        loaded = load_model(folder, device)
        self.model, self.config = loaded.model, loaded.config
        self.device = torch.device(device)
        self.model.precision = precision_for(precision, self.device)
        self._encoder = text_encoder or TextEncoder()
        self._codec = make_codec(self.config)
        self._folder, self._texts = Path(folder), texts

    @cached_property
    def level_losses(self) -> LevelLosses:
        """Measures the loss of this model by noise level."""
        return LevelLosses(self.config, self._codec, self._encoder, self.device)

    @cached_property
    def known_words(self) -> frozenset[str]:
        """Words of the captions that the model was trained on; none where they are not known."""
        written = known_words(self._folder)
        return frozenset(vocabulary(self._texts(self._folder))) if written is None else written

    def reading(self, prompts: list[str]) -> Reading:
        """What the model reads of the prompts of a clip's shots. Raises `PromptError`."""
        return read(prompts, self._encoder, self.known_words)

    def generate(
        self,
        prompt: str,
        seed: int,
        **asked: Unpack[Asked],
    ) -> Video:
        """A clip uint8 (T, H, W, 3) of the prompt.

        The same arguments give the same clip on the same machine. Raises as `generate_batch`.
        """
        clips = self.generate_batch([prompt], [seed], **asked)
        clip: Video = clips[0]
        return clip

    def generate_batch(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        **asked: Unpack[Asked],
    ) -> Video:
        """Clips uint8 (B, T, H, W, 3), one per prompt and seed, denoised together.

        Raises `PromptError` for an empty prompt, `ShapeError` for a shape or rate that the model does not generate or a
        negative seed, `SamplingStopped` when `should_stop` returns True, and `NotFinite`.
        """
        if any(not isinstance(prompt, str) or not prompt.strip() for prompt in prompts):
            raise PromptError("A prompt is empty. Describe the clip.")
        if any(seed < 0 for seed in seeds):
            raise ShapeError("A seed is negative. Use 0 or a positive number.")
        t, h, w = self._shape(asked)
        parts = condition(self.config, self._codec, self._blank(t, h, w), self.config.rate(asked.get("fps")), NO_INPUTS)
        latents = self._denoise([(prompt, parts) for prompt in prompts], seeds, asked)
        return np.asarray(to_uint8(self._codec.decode(torch.stack(latents))).cpu().numpy())

    def complete(
        self,
        task: Task,
        prompt: str,
        seed: int,
        inputs: TaskInputs,
        strength: float | None = None,
        **asked: Unpack[Asked],
    ) -> Completed:
        """A clip for a task and its inputs, which it contains bit for bit; see `task_inputs.inputs_for`.

        `strength` in (0, 1] is the noise level at which sampling begins (SDEdit, Meng et al. 2021): the higher, the
        less an edit or a blend keeps of its source. None is 0.7 for an edit, 0.85 for a blend, else 1. Raises
        `TaskError` for a task that the model was not trained for, `PromptError` for an edit without a prompt, else as
        `generate`.
        """
        check_task(task, self.config.tasks)
        if not prompt.strip() and task is Task.EDIT:
            raise PromptError("The prompt is empty. Describe the edited clip.")
        t, h, w = self._shape(asked)
        check_inputs(inputs, t, h, w)
        begin = self._blank(t, h, w)
        if inputs.source is not None and inputs.mask is None:
            begin = self._codec.encode(inputs.source[None])[0]
        parts = condition(self.config, self._codec, begin, self.config.rate(asked.get("fps")), inputs)
        start = DEFAULT_STRENGTHS.get(task, 1.0) if strength is None else strength
        latents = self._denoise([(prompt, parts)], [seed], asked, start)
        made = self._codec.decode(latents[0][None])[0].cpu()
        pasted = paste(made, inputs, self.config.grid.cell)
        return Completed(np.asarray(to_uint8(pasted[None]).numpy())[0], tuple(seams(made, inputs)))

    def stream(
        self,
        shots: Sequence[Shot],
        seed: int,
        **asked: Unpack[Asked],
    ) -> Iterator[Video]:
        """Chunks uint8 (t, H, W, 3) of a clip of open length, each generated on demand; see `streaming.stream`.

        `on_step` counts steps over all chunks. Raises `TaskError` for a model that was not trained for streaming,
        `ShapeError` where `frames` is set, else as `generate`.
        """
        if asked.get("frames") is not None:
            raise ShapeError("A stream is as long as its shots. Leave frames out and give each shot its seconds.")
        _, h, w = self._shape(asked)
        options = StreamOptions(
            h,
            w,
            self.config.rate(asked.get("fps")),
            asked.get("steps", DEFAULT_STEPS),
            asked.get("guidance_scale", DEFAULT_GUIDANCE),
            asked.get("negative_prompt", ""),
            asked.get("on_step"),
            asked.get("should_stop"),
            asked.get("guidance_rescale", 0.0),
        )
        return stream(self.model, self._codec, self._encoder, shots, seed, options, self.device)

    def _denoise(
        self, clips: Sequence[tuple[str, tuple[Part, ...]]], seeds: Sequence[int], asked: Asked, start: float = 1.0
    ) -> list[Tensor]:
        """Latents (C, T, H, W) of each clip, from noise or from its part with noise of level `start`."""
        texts = self._encoder.encode([prompt for prompt, _ in clips])
        negative = self._encoder.encode([asked.get("negative_prompt", "")])[0]
        samples = [Sample(parts, text) for (_, parts), text in zip(clips, texts, strict=True)]
        shift = self.config.shift_for(samples[0].parts[0].levels.numel())
        return sample(
            self.model,
            samples,
            seeds,
            self.config.patch,
            euler_levels(asked.get("steps", DEFAULT_STEPS), shift, start),
            guidance=Guidance(
                asked.get("guidance_scale", DEFAULT_GUIDANCE),
                [negative] * len(texts),
                asked.get("guidance_rescale", 0.0),
            ),
            device=self.device,
            on_step=asked.get("on_step"),
            should_stop=asked.get("should_stop"),
        )

    def _shape(self, asked: Asked) -> tuple[int, int, int]:
        return self.clip_shape(asked.get("frames"), asked.get("height"), asked.get("width"))

    def _blank(self, frames: int, height: int, width: int) -> Tensor:
        return blank_latents(self.config, frames, height, width)

    def clip_shape(
        self, frames: int | None = None, height: int | None = None, width: int | None = None
    ) -> tuple[int, int, int]:
        """(frames, height, width); None: the model's own. Raises `ShapeError`, naming the nearest that fits."""
        config, grid = self.config, self.config.grid
        most = grid.rows_in(config.max_frames)
        return (
            grid.whole_length(config.frames if frames is None else frames, config.least_rows, most),
            grid.whole_side("height", config.height if height is None else height, config.max_side),
            grid.whole_side("width", config.width_px if width is None else width, config.max_side),
        )
