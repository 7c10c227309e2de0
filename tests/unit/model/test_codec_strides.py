"""A codec with strides gives every task what pixels in patches of the same size give it.

The unshuffle codec (4 x 2 x 2) with patches of 1 x 4 x 4 has the tokens of pixels in patches of 4 x 8 x 8, with the
numbers of each in another order. So levels, times, cuts and chunks must be equal, and decoded latents the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kinema_model.artefact import save_model
from kinema_model.codec.codec import UnshuffleCodec, make_codec
from kinema_model.conditions.conditioning import condition
from kinema_model.conditions.task_inputs import Segment, TaskInputs, draw_inputs, inputs_for, training_clip
from kinema_model.conditions.tasks import TRAINED_BY, Task
from kinema_model.config import ModelConfig, StreamingConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.diffusion.flow import DrawnLevel
from kinema_model.ema import Ema
from kinema_model.errors import ConfigError, ShapeError
from kinema_model.network.pack import Part, Sample, pack_samples
from kinema_model.pipeline import Pipeline
from kinema_model.rng import RngStream, generator
from kinema_model.source import Captions, Clip
from kinema_model.streaming.chunking import chunked_sample
from kinema_model.streaming.stream import Shot
from kinema_model.text.encoder import TextEncoder
from kinema_model.training.objective import TrainingObjective
from kinema_world import World
from kinema_world.source import WorldSource
from unit.model.clips import small_network

FRAMES, SIDE = 16, 16
STREAMING = StreamingConfig(chunk_frames=4, window_chunks=2, reference_frames=1)
TRAINED = tuple(task for task in Task if task not in TRAINED_BY and task is not Task.PICTURE)
GIVEN = tuple(task for task in TRAINED if task is not Task.TEXT)


def model_config(codec: str, streaming: StreamingConfig | None = None) -> ModelConfig:
    """A small model of the pixels of 4 x 8 x 8 a token, by its patch or by its codec."""
    strided = codec == "unshuffle"
    patch = (1, 4, 4) if strided else (4, 8, 8)
    channels = 48 if strided else 3
    network = small_network(patch, in_channels=channels + 1, out_channels=channels, text_dim=384)
    return ModelConfig(
        preset="tiny", network=network, codec=codec, places="space" if streaming else "space-time", tasks=TRAINED,
        streaming=streaming, frames=FRAMES, height=SIDE, width_px=SIDE, fps=8, max_frames=64,
    )  # fmt: skip


PIXELS, STRIDED = model_config("pixel"), model_config("unshuffle")


def random_clip(seed: int, frames: int = FRAMES) -> Tensor:
    return torch.rand(3, frames, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def parts_of(config: ModelConfig, video: Tensor, inputs: TaskInputs) -> tuple[Part, ...]:
    codec = make_codec(config)
    return condition(config, codec, codec.encode(video[None])[0], 8.0, inputs)


def require_equal(strided: tuple[Part, ...], pixels: tuple[Part, ...]) -> None:
    assert len(strided) == len(pixels)
    for ours, theirs in zip(strided, pixels, strict=True):
        assert torch.equal(ours.levels, theirs.levels)
        assert torch.equal(ours.times, theirs.times)
        assert torch.equal(UnshuffleCodec().decode(ours.latents[None])[0], theirs.latents)


def test_the_codec_loses_nothing_and_has_the_shape_that_its_grid_says() -> None:
    video = random_clip(1)
    latents = UnshuffleCodec().encode(video[None])
    assert tuple(latents.shape[1:]) == (STRIDED.channels, *STRIDED.grid.latent_box(FRAMES, SIDE, SIDE))
    assert torch.equal(UnshuffleCodec().decode(latents)[0], video)


@pytest.mark.parametrize("task", TRAINED)
@pytest.mark.parametrize("draw", range(3))
def test_every_task_has_the_same_levels_times_and_pixels(task: Task, draw: int) -> None:
    clip = training_clip(task, random_clip(2), random_clip(3))
    inputs = draw_inputs(task, clip, generator(RngStream.TASK, draw, 0, 0))
    require_equal(parts_of(STRIDED, clip, inputs), parts_of(PIXELS, clip, inputs))


@pytest.mark.parametrize("count", [1, 3, 4, 6, 15])
def test_first_frames_fill_rows_of_tokens_and_the_rest_stands_beside_them(count: int) -> None:
    video = random_clip(4)
    whole, *beside = parts_of(STRIDED, video, TaskInputs((Segment(video[:, :count], 0),)))
    rows, rest = divmod(count, 4)
    assert whole.levels[:rows].eq(0).all()
    assert whole.levels[rows:].eq(1).all()
    assert len(beside) == (rest > 0)
    if beside:
        assert float(beside[0].times[0]) == rows
        shown = UnshuffleCodec().decode(beside[0].latents[None])[0]
        assert torch.equal(shown[:, :rest], video[:, rows * 4 : count])
        assert torch.equal(shown[:, rest:], video[:, count - 1 : count].expand(-1, 4 - rest, -1, -1))


def test_chunks_cuts_and_references_are_those_of_pixels() -> None:
    video = torch.from_numpy(np.random.default_rng(5).integers(0, 255, (FRAMES, SIDE, SIDE, 3), np.uint8))
    clip = Clip(video, 8.0, Captions("a", "a", ("a", "b")), (0, 8))
    texts = [torch.zeros(1, 384), torch.ones(1, 384)]
    for draw in range(6):
        samples = []
        for codec in ("unshuffle", "pixel"):
            config = model_config(codec, STREAMING)
            rng = generator(RngStream.STREAMING, draw, 0, 0)
            samples.append(chunked_sample(config, STREAMING, make_codec(config), clip, texts, DrawnLevel(0.7), rng))
        strided, pixels = samples
        require_equal(strided.parts, pixels.parts)
        assert [cut.row for cut in strided.cuts] == [cut.row for cut in pixels.cuts]
        assert strided.chunks == pixels.chunks


@pytest.mark.parametrize("task", [None, *GIVEN])
def test_a_training_step_learns_of_every_task(
    task: Task | None, encoder: TextEncoder, awake: Callable[..., VideoDenoiser]
) -> None:
    world = WorldSource(World.fixed(7, FRAMES, SIDE, SIDE, fps=8))
    config = STRIDED if task else model_config("unshuffle", STREAMING)
    objective = TrainingObjective(config, encoder, world, 1, tasks={task or Task.TEXT: 1.0}, streaming_share=1.0)
    pack, noise = objective.batch([1, 2], 0)
    assert pack.tokens.shape == noise.shape
    assert pack.tokens.shape[1] == 48 * 16
    found = objective.loss(awake(config), [1, 2], 0)
    assert torch.isfinite(found.total)
    assert found.count > 0


@pytest.fixture
def pipeline(tmp_path: Path, encoder: TextEncoder, awake: Callable[..., VideoDenoiser]) -> Callable[..., Pipeline]:
    def made(config: ModelConfig) -> Pipeline:
        save_model(tmp_path, Ema(awake(config), 0.9).shadow, config, "# Random weights")
        return Pipeline(tmp_path, text_encoder=encoder)

    return made


@pytest.mark.parametrize("task", [Task.IMAGE, Task.EXTEND, Task.EXTEND_BACK, Task.FILL, Task.LOOP, Task.BLEND])
def test_given_frames_come_out_bit_for_bit(task: Task, pipeline: Callable[..., Pipeline]) -> None:
    few = {Task.IMAGE: 1, Task.LOOP: 1, Task.BLEND: FRAMES}.get(task, 5)
    inputs = inputs_for(task, FRAMES, random_clip(6, few), random_clip(7, few if task is Task.BLEND else 3))
    done = pipeline(STRIDED).complete(task, "a red square", 1, inputs, steps=2)
    assert done.video.shape == (FRAMES, SIDE, SIDE, 3)
    assert done.seams
    for segment in inputs.segments:
        count = min(segment.video.shape[1], FRAMES - segment.at)
        expected = ((segment.video[:, :count] + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0)
        assert np.array_equal(done.video[segment.at : segment.at + count], expected.numpy())


def test_a_stream_of_two_shots_has_the_frames_of_its_rows(pipeline: Callable[..., Pipeline]) -> None:
    shots = [Shot("a red square", 1.0), Shot("a blue circle", 1.6, like=0)]
    chunks = list(pipeline(model_config("unshuffle", STREAMING)).stream(shots, 1, steps=2))
    # 1.6 s at 8 frames a second are nearest to 3 rows of 4 frames.
    assert [len(chunk) for chunk in chunks] == [4] * 5


def test_a_length_that_is_no_whole_row_is_refused_with_the_nearest(pipeline: Callable[..., Pipeline]) -> None:
    with pytest.raises(ShapeError, match=r"multiple of 4 from 4 to 64\. Use 12"):
        pipeline(STRIDED).generate("a red square", 1, frames=13)


def test_a_network_for_other_latents_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"has 48 channels\. Set it to 48"):
        make_codec(PIXELS.model_copy(update={"codec": "unshuffle"}))


def test_tokens_are_the_same_pixels_in_another_order() -> None:
    video = random_clip(8)
    samples = [Sample(parts_of(config, video, TaskInputs()), torch.zeros(0, 384)) for config in (STRIDED, PIXELS)]
    packs = [pack_samples([samples[0]], STRIDED.patch), pack_samples([samples[1]], PIXELS.patch)]
    ours, theirs = (pack.tokens.sort(dim=1).values for pack in packs)
    assert torch.equal(ours, theirs)
    assert torch.equal(packs[0].places, packs[1].places)
