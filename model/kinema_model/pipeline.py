"""From a prompt to a clip: everything a server or an evaluation needs of a model folder, in one object."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor

from kinema_model.artefact import load_model
from kinema_model.codec.codec import Video, make_codec, to_uint8
from kinema_model.conditions.conditioning import Seam, condition, paste, seams
from kinema_model.conditions.task_inputs import NO_INPUTS, TaskInputs, check_inputs
from kinema_model.conditions.tasks import Task, check_task
from kinema_model.diffusion.sampler import Guidance, OnStep, ShouldStop, euler_levels, sample
from kinema_model.errors import PromptError, ShapeError
from kinema_model.network.pack import Part, Sample
from kinema_model.streaming.stream import Shot, StreamOptions, stream
from kinema_model.text.encoder import TextEncoder
from kinema_model.text.reading import Reading, known_words, read, vocabulary

# As kinema_api.clip has them, which a test sees to: what is measured is what users get.
DEFAULT_STEPS: Final = 16
DEFAULT_GUIDANCE: Final = 2.0


# An edit keeps motion and composition and changes what is shown; a blend has more to make up.
DEFAULT_STRENGTHS: Final = {Task.EDIT: 0.7, Task.BLEND: 0.85}


@dataclass(frozen=True)
class Completed:
    """A clip uint8 (T, H, W, 3) around what was given, and how well it met that before it was pasted."""

    video: Video
    seams: tuple[Seam, ...]


class Asked(TypedDict, total=False):
    """How a clip is asked for. What is left out or None is the model's own shape and rate, and as usual."""

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

    `texts` gives what a model was told in training from its folder, for one whose words are not written there.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        text_encoder: TextEncoder | None = None,
        device: torch.device | str = "cpu",
        texts: Callable[[Path], Iterable[str]] = _no_texts,
    ) -> None:
        loaded = load_model(folder, device)
        self.model, self.config = loaded.model, loaded.config
        self.device = torch.device(device)
        self._encoder = text_encoder or TextEncoder()
        self._codec = make_codec(self.config)
        self._folder, self._texts = Path(folder), texts

    @cached_property
    def known_words(self) -> frozenset[str]:
        """Words of the captions that the model was trained on; none where its folder does not tell."""
        written = known_words(self._folder)
        return frozenset(vocabulary(self._texts(self._folder))) if written is None else written

    def reading(self, prompts: list[str]) -> Reading:
        """What becomes of the prompts of a clip's shots. Raises `PromptError`."""
        return read(prompts, self._encoder, self.known_words)

    def generate(
        self,
        prompt: str,
        seed: int,
        **asked: Unpack[Asked],
    ) -> Video:
        """A clip uint8 (T, H, W, 3) of the prompt; the model's own shape and rate where they are left out.

        The same arguments give the same clip on the same machine. Raises `PromptError`, `ShapeError` and,
        when `should_stop` said so, `SamplingStopped`.
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

        Raises `PromptError` for an empty prompt, `ShapeError` for a size or rate that the model does not make or a
        negative seed, `SamplingStopped` when `should_stop` said so, and `NotFinite`.
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
        """A clip around what is given, which comes out bit for bit; see `task_inputs.inputs_for`.

        `strength` in (0, 1] is the noise level at which an edit or a blend begins: the more, the less remains of its
        source. Raises `TaskError` for a task that the model was not trained for, `PromptError` for an edit without a
        prompt, else as `generate`.
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
        pasted = paste(made, inputs, self.config.patch)
        return Completed(np.asarray(to_uint8(pasted[None]).numpy())[0], tuple(seams(made, inputs)))

    def stream(
        self,
        shots: Sequence[Shot],
        seed: int,
        **asked: Unpack[Asked],
    ) -> Iterator[Video]:
        """Chunks uint8 (t, H, W, 3) of a clip of open length, each made when it is asked for; see `streaming.stream`.

        Steps are counted over all chunks. Raises `TaskError` for a model that was not trained to stream, `ShapeError`
        where `frames` is asked for, else as `generate`.
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
        """Latents of each clip, from noise or from level `start` of what its part holds."""
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
        return torch.zeros(self._codec.latent_shape(frames, height, width))

    def clip_shape(
        self, frames: int | None = None, height: int | None = None, width: int | None = None
    ) -> tuple[int, int, int]:
        """Frames, rows and columns of the clip; raises `ShapeError` with the nearest size that works."""
        config = self.config
        return (
            _fitting(
                "frames",
                config.frames if frames is None else frames,
                config.patch[0],
                config.max_frames,
                config.least_rows,
            ),
            _fitting("height", config.height if height is None else height, config.patch[1], config.max_side),
            _fitting("width", config.width_px if width is None else width, config.patch[2], config.max_side),
        )


def _fitting(name: str, size: int, multiple: int, limit: int, least: int = 1) -> int:
    nearest = min(max(round(size / multiple), least), limit // multiple) * multiple
    if size == nearest:
        return size
    raise ShapeError(
        f"{name} {size} does not fit this model: it must be a multiple of {multiple} from {least * multiple} to "
        f"{limit // multiple * multiple}. Use {nearest}."
    )
