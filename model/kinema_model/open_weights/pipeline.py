"""From a prompt, and a first frame for the task image, to a clip: what servers use of a folder of open weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinema_model.codec.codec import Video, to_uint8
from kinema_model.diffusion.sampler import OnStep, ShouldStop
from kinema_model.errors import PromptError, SamplingStopped, ShapeError, TaskError
from kinema_model.open_weights.denoising import Denoiser, Experts, FirstFrame, masked_channels
from kinema_model.open_weights.folder import OpenFolder, inspect
from kinema_model.open_weights.image import encoder_pixels, first_frame, image_states
from kinema_model.open_weights.native import NativeShape, Usual
from kinema_model.open_weights.offload import Offload, Part
from kinema_model.open_weights.schedule import Schedule
from kinema_model.open_weights.text import PromptTokenizer, text_states
from kinema_model.open_weights.vae import Vae
from kinema_model.open_weights.weights import load, verify
from kinema_model.precision import precision_for
from kinema_model.text.reading import Reading


@dataclass(frozen=True)
class Options:
    """How weights are held and clips are decoded; what is None follows from the device.

    `dtype` is that of network and text encoder: bfloat16 on a GPU that has it, else float32.
    `decode_rows` latent rows are decoded at a time. With `tile` latents a side decoding takes tiles, which is inexact.
    `shift` replaces that of the folder's scheduler.
    """

    dtype: torch.dtype | None = None
    vae_dtype: torch.dtype = torch.float32
    offload: Offload = Offload.NONE
    decode_rows: int = 1
    tile: int | None = None
    shift: float | None = None


@dataclass(frozen=True)
class Request:
    """One clip; what is None is what is usual of the weights.

    `image` uint8 (H, W, 3) is the first frame. `guidance_2` is the guidance of the second network of two; None:
    `guidance` if that is set.
    """

    prompt: str
    negative: str = ""
    image: Video | None = None
    frames: int | None = None
    height: int | None = None
    width: int | None = None
    steps: int | None = None
    guidance: float | None = None
    guidance_2: float | None = None
    seed: int = 0


class OpenPipeline:
    """A folder's weights, verified and loaded. Raises `BrokenArtefact` or `ConfigError` when made, naming the file.

    `verified`: the caller has compared the files with the digests of the manifest.
    """

    def __init__(
        self,
        folder: Path | str | OpenFolder,
        *,
        device: torch.device | str = "cpu",
        options: Options | None = None,
        verified: bool = False,
    ) -> None:
        self.device = torch.device(device)
        self.options = options or Options()
        self.dtype = self.options.dtype or precision_for("auto", self.device)
        self.folder = folder if isinstance(folder, OpenFolder) else inspect(folder)
        if not verified:
            verify(self.folder.path)
        self.tokenizer = PromptTokenizer(self.folder.tokenizer_file, self.folder.text_encoder.vocab_size)
        self.parts = {name: self._part(name) for name in self.folder.parts}
        self._vae = Vae(self.parts["vae"].module, self.folder.vae)
        self.seam: float | None = None
        """Of the last clip that was decoded in tiles, see `vae.Tiled`."""

    def _part(self, name: str) -> Part:
        offload = self.options.offload
        # The image encoder is small, and Wan was trained on its states in float32.
        dtype = {"vae": self.options.vae_dtype, "image_encoder": torch.float32}.get(name, self.dtype)
        home = self.device if offload is Offload.NONE else torch.device("cpu")
        return Part(load(self.folder.parts[name], home, dtype), self.device, offload)

    @property
    def native(self) -> NativeShape:
        """The usual shape of a clip of these weights."""
        return self.folder.usual.shapes[0]

    def reading(self, prompts: list[str]) -> Reading:
        """How much of the prompts the text encoder takes. Raises `PromptError`."""
        return self.tokenizer.reading(prompts)

    def clip_shape(
        self, frames: int | None = None, height: int | None = None, width: int | None = None
    ) -> tuple[int, int, int]:
        """Frames, rows and columns of the clip; raises `ShapeError` with the nearest size that works."""
        grid, native, longest = self.folder.grid, self.native, self.folder.network.rope_max_seq_len
        return (
            grid.whole_length(native.frames if frames is None else frames, 1, longest),
            grid.whole_side("height", native.height if height is None else height, longest * grid.cell[1]),
            grid.whole_side("width", native.width if width is None else width, longest * grid.cell[2]),
        )

    def generate(self, request: Request, on_step: OnStep | None = None, should_stop: ShouldStop | None = None) -> Video:
        """A clip uint8 (T, H, W, 3).

        The same request gives the same clip on the same machine. Raises `PromptError`, `ShapeError`, `TaskError` for a
        first frame that is missing or that the weights take none of, `NotFinite`, and `SamplingStopped` when
        `should_stop` returns True.
        """
        chunks = self.decode(self.denoise(request, on_step, should_stop), should_stop)
        return np.concatenate([np.asarray(to_uint8(chunk[None])[0].cpu().numpy()) for chunk in chunks])

    def denoise(self, request: Request, on_step: OnStep | None = None, should_stop: ShouldStop | None = None) -> Tensor:
        """Normalised latents (z, T', H', W') float32 of the clip; noise is drawn on the CPU by the seed."""
        self._check(request)
        shape = self.clip_shape(request.frames, request.height, request.width)
        steps = self.folder.usual.steps if request.steps is None else request.steps
        schedule = Schedule(self.folder.scheduler, steps, self.device, self.options.shift)
        texts = self._texts(request)
        first = FirstFrame() if request.image is None else self._first_frame(request.image, *shape)
        generator = torch.Generator("cpu").manual_seed(request.seed)
        latents = self.folder.vae.z_dim, *self.folder.grid.latent_box(*shape)
        noise = torch.randn(latents, generator=generator).to(self.device)
        return Denoiser(self._experts(request), texts, first).run(noise, schedule, on_step, should_stop)

    def decode(self, latents: Tensor, should_stop: ShouldStop | None = None) -> Iterator[Tensor]:
        """Chunks in [-1, 1] (3, t, H, W) of the clip, in order. Raises `SamplingStopped`."""
        rows, tile = self.options.decode_rows, self.options.tile
        with self.parts["vae"].here():
            if tile is not None:
                tiled = self._vae.decode_tiled(latents, tile, rows)
                self.seam = tiled.seam
                yield tiled.video
                return
            for chunk in self._vae.decode(latents, rows):
                yield chunk
                if should_stop is not None and should_stop():
                    raise SamplingStopped("Decoding was stopped before the clip was complete.")

    def _experts(self, request: Request) -> Experts:
        names = [name for name in ("transformer", "transformer_2") if name in self.parts]
        return Experts(
            [self.parts[name] for name in names],
            guidance_of(request, self.folder.usual),
            self.folder.boundary or 0.0,
            together=self.options.offload is Offload.BLOCKS,
        )

    def _texts(self, request: Request) -> tuple[Tensor, Tensor]:
        part = self.parts["text_encoder"]
        ids = [self.tokenizer.ids(text) for text in (request.prompt, request.negative)]
        with part.here():
            prompt, negative = (text_states(part.module, each, self.device) for each in ids)
        return prompt, negative

    def _first_frame(self, image: Video, frames: int, height: int, width: int) -> FirstFrame:
        pixels = first_frame(image, height, width)
        if self.folder.per_token_levels:
            with self.parts["vae"].here():
                return FirstFrame(row=self._vae.encode(pixels).to(self.device))
        video = torch.cat((pixels, pixels.new_zeros(3, frames - 1, height, width)), dim=1)
        with self.parts["vae"].here():
            channels = masked_channels(self._vae.encode(video).to(self.device))
        return FirstFrame(channels=channels, states=self._image_states(image))

    def _image_states(self, image: Video) -> Tensor | None:
        part, config = self.parts.get("image_encoder"), self.folder.image_processor
        if part is None or config is None:
            return None
        with part.here():
            return image_states(part.module, encoder_pixels(image, config).to(self.device))

    def _check(self, request: Request) -> None:
        if not request.prompt.strip():
            raise PromptError("The prompt is empty. Describe the clip.")
        if request.seed < 0:
            raise ShapeError("A seed is negative. Use 0 or a positive number.")
        if request.guidance_2 is not None and self.folder.boundary is None:
            raise TaskError("These weights have one network, so guidance_2 does not apply. Remove it.")
        if (request.image is None) and "text" not in self.folder.tasks:
            raise TaskError("These weights make clips from a first frame. Give an image.")
        if (request.image is not None) and "image" not in self.folder.tasks:
            raise TaskError("These weights make clips from a prompt alone. Remove the image.")


def guidance_of(request: Request, usual: Usual) -> tuple[float, float]:
    """Guidance of the first and of the last network."""
    first = usual.guidance if request.guidance is None else request.guidance
    if request.guidance_2 is not None:
        return first, request.guidance_2
    return first, first if request.guidance is not None or usual.guidance_2 is None else usual.guidance_2
