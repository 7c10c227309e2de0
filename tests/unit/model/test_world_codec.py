"""The learned codec of the world: what a token depends on, how near pictures come back, and that it never changes."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kinema_model.artefact import save_model
from kinema_model.codec.codec import make_codec, pixels, to_uint8
from kinema_model.codec.grid import CODECS
from kinema_model.codec.world import WEIGHTS_FILE, WorldCodec
from kinema_model.config import ModelConfig
from kinema_model.denoiser import VideoDenoiser
from kinema_model.ema import Ema
from kinema_model.errors import ConfigError
from kinema_model.pipeline import Pipeline
from kinema_model.streaming.stream import Shot
from kinema_model.text.encoder import TextEncoder
from kinema_world import World
from kinema_world.reader import parse
from unit.model.clips import small_network

CODEC = WorldCodec()
SIDE, FRAMES, SCENES = 24, 8, 40
WORLD = World.fixed(2**33, FRAMES, SIDE, SIDE, 8)


def random_video(frames: int = 2, height: int = 24, width: int = 32) -> Tensor:
    return torch.rand(1, 3, frames, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def true_videos() -> Tensor:
    """(B, 3, T, H, W) of scenes that the codec was not trained on."""
    return torch.stack([pixels(WORLD.sample(index).video) for index in range(SCENES)])


def test_the_weights_are_those_that_published_models_were_trained_with() -> None:
    content = (files("kinema_model.codec") / WEIGHTS_FILE).read_bytes()
    assert sha256(content).hexdigest() == "2ba443ae85b9891b4a523a2cbb637ed1dac648f1818d3e3196cbfd7d9e9e0877"
    assert len(content) < 128 << 10


def test_latents_have_the_shape_that_the_grid_says() -> None:
    latents = CODEC.encode(random_video())
    assert tuple(latents.shape) == (1, CODECS["world"].channels, 2, 3, 4)
    assert tuple(CODEC.decode(latents).shape) == (1, 3, 2, 24, 32)
    assert CODEC.decode(100 * latents).abs().max() == 1


def test_a_token_holds_its_own_pixels_alone() -> None:
    """So the inputs of a task tell nothing of what is to be generated."""
    video = random_video()
    changed = video.clone()
    changed[0, :, 1, 8:16, 16:24] *= -1
    apart = (CODEC.encode(video) != CODEC.encode(changed)).any(dim=1)[0]
    assert apart.nonzero().tolist() == [[1, 1, 2]]


def test_the_decoder_sees_over_the_edges_of_patches_and_no_farther() -> None:
    latents = CODEC.encode(random_video(1, 40, 40))
    changed = latents.clone()
    changed[0, :, 0, 2, 2] *= -1
    apart = (CODEC.decode(latents) != CODEC.decode(changed)).any(dim=1)[0, 0]
    rows, columns = apart.any(dim=1), apart.any(dim=0)
    assert rows[10:30].all()
    assert columns[10:30].all()
    assert not rows[[0, 39]].any()
    assert not columns[[0, 39]].any()


def test_frames_are_coded_one_by_one() -> None:
    video = random_video(4)
    latents = CODEC.encode(video)
    assert torch.allclose(CODEC.encode(video[:, :, 2:3]), latents[:, :, 2:3], atol=1e-5)
    assert torch.allclose(CODEC.decode(latents[:, :, 2:3]), CODEC.decode(latents)[:, :, 2:3], atol=1e-5)


def test_latents_of_the_world_have_mean_0_and_variance_1() -> None:
    latents = CODEC.encode(true_videos())
    assert (latents.mean((0, 2, 3, 4)).abs() < 0.2).all()
    assert ((latents.std((0, 2, 3, 4)) - 1).abs() < 0.2).all()


@pytest.mark.parametrize(("noise", "least"), [(0.0, 28.0), (0.3, 25.0)])
def test_unseen_scenes_come_back_as_they_were_also_from_noised_latents(noise: float, least: float) -> None:
    videos = true_videos()
    torch.manual_seed(0)
    latents = CODEC.encode(videos)
    decoded = CODEC.decode(latents + noise * torch.randn_like(latents))
    assert -10 * torch.log10((decoded - videos).square().mean() / 4) > least
    for index, clip in enumerate(np.asarray(to_uint8(decoded))):
        assert parse(clip) == WORLD.scene(index).attributes


def test_a_network_for_pixels_is_refused() -> None:
    config = ModelConfig.from_preset("tiny", codec="world").model_copy(update={"network": small_network((1, 8, 8))})
    with pytest.raises(ConfigError, match="'world' has 16 channels"):
        make_codec(config)


def test_a_stream_of_its_latents_is_drawn_chunk_by_chunk(
    tmp_path: Path, encoder: TextEncoder, awake: Callable[..., VideoDenoiser]
) -> None:
    streaming = {"chunk_frames": 2, "window_chunks": 1, "reference_frames": 1}
    fields = {"places": "space", "streaming": streaming, "codec": "world"}
    config = ModelConfig.from_preset("tiny", width=24, depth=1, heads=2, **fields)
    save_model(tmp_path, Ema(awake(config), 0.9).shadow, config, "# Random weights")
    pipeline = Pipeline(tmp_path, text_encoder=encoder)
    shots = [Shot("a red square moves right", 0.5), Shot("a blue circle moves up", 0.5)]
    chunks = list(pipeline.stream(shots, 1, steps=2))
    assert [chunk.shape for chunk in chunks] == [(2, SIDE, SIDE, 3)] * 4
