"""Folders of open weights, written by diffusers in tiny shapes: our clips are those of diffusers' own pipelines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from kinema_api.memory_estimate import parameters
from kinema_model.codec.codec import Video
from kinema_model.errors import (
    ModelError,
    NotFinite,
    PromptError,
    SamplingStopped,
    ShapeError,
    TaskError,
)
from kinema_model.open_weights.offload import Offload
from kinema_model.open_weights.pipeline import OpenPipeline, Options, Request
from kinema_model.open_weights.schedule import Schedule
from kinema_model.open_weights.text import MAX_TOKENS
from wan_folders import BOUNDARY, KINDS, Folders, Kind

TOLERANCE = 1e-4
"""Of pixels in [-1, 1]: 1e-3 is promised, but a wrong guidance of the first of two networks could hide below that."""
NETWORK = "transformer/diffusion_pytorch_model.safetensors"
PROMPT = "a red “ball” &amp; a  blue box"
IMAGE: Video = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
REQUEST = Request(PROMPT, "grey", frames=9, height=32, width=64, steps=4, guidance=5.0, seed=3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("wan"))


Opened = Callable[[Kind], OpenPipeline]


@pytest.fixture(scope="module")
def opened(folders: Folders) -> Opened:
    """The pipeline of a kind with nothing particular about it, opened once."""
    return cache(lambda kind: OpenPipeline(folders.path(kind)))


@pytest.fixture(scope="module")
def plain(opened: Opened) -> OpenPipeline:
    return opened("t2v")


def _ours(pipeline: OpenPipeline, request: Request) -> Tensor:
    return torch.cat(list(pipeline.decode(pipeline.denoise(request))), dim=1)


def _theirs(pipeline: Any, request: Request) -> Tensor:
    """(3, T, H, W) in [-1, 1]."""
    told: dict[str, Any] = {}
    if request.image is not None:
        from diffusers import WanImageToVideoPipeline

        if not isinstance(pipeline, WanImageToVideoPipeline):
            pipeline = WanImageToVideoPipeline(**pipeline.components, expand_timesteps=True)
            pipeline.set_progress_bar_config(disable=True)
        told["image"] = Image.fromarray(request.image)
    if request.guidance_2 is not None:
        told["guidance_scale_2"] = request.guidance_2
    video: Tensor = pipeline(
        prompt=request.prompt,
        negative_prompt=request.negative,
        height=request.height,
        width=request.width,
        num_frames=request.frames,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance,
        generator=torch.Generator("cpu").manual_seed(request.seed),
        output_type="pt",
        **told,
    ).frames[0]
    return (video * 2 - 1).permute(1, 0, 2, 3)


def _request(kind: Kind, image: bool) -> Request:
    return replace(REQUEST, image=IMAGE if image else None, guidance_2=2.0 if "a14b" in kind else None)


CASES: list[tuple[Kind, bool]] = [
    ("t2v", False),
    ("i2v", True),
    ("a14b", False),
    ("i2v-a14b", True),
    ("ti2v", False),
    ("ti2v", True),
]


@pytest.mark.parametrize(("kind", "image"), CASES, ids=[f"{kind}{'-image' * image}" for kind, image in CASES])
def test_clips_are_those_of_diffusers(folders: Folders, opened: Opened, kind: Kind, image: bool) -> None:
    request = _request(kind, image)
    expected, ours = _theirs(folders.written(kind)[1], request), _ours(opened(kind), request)
    assert expected.shape == (3, 9, 32, 64)
    assert float((ours - expected).abs().max()) <= TOLERANCE


def test_clips_of_the_euler_scheduler_are_those_of_diffusers(folders: Folders) -> None:
    path, pipeline = folders.written("t2v", "euler")
    assert float((_ours(OpenPipeline(path), REQUEST) - _theirs(pipeline, REQUEST)).abs().max()) <= TOLERANCE


@pytest.mark.parametrize(
    "change",
    [{"prompt": "zebra"}, {"negative": "zzz"}, {"seed": 4}, {"guidance": 4.0}, {"guidance_2": 4.0}, {"steps": 3}],
    ids=lambda change: next(iter(change)),
)
def test_what_a_request_says_matters(opened: Opened, change: dict[str, Any]) -> None:
    """The control of parity: each part of a request moves pixels by far more than the tolerance."""
    pipeline = opened("a14b")
    request = replace(_request("a14b", False), frames=1)
    moved = _ours(pipeline, replace(request, **change)) - _ours(pipeline, request)
    assert float(moved.abs().max()) > 2 * TOLERANCE


@pytest.mark.parametrize("kind", ["i2v", "i2v-a14b", "ti2v"])
def test_the_first_frame_matters(opened: Opened, kind: Kind) -> None:
    pipeline, request = opened(kind), replace(_request(kind, True), frames=5)
    moved = _ours(pipeline, replace(request, image=255 - IMAGE)) - _ours(pipeline, request)
    assert float(moved[:, 1:].abs().max()) > 2 * TOLERANCE


def test_two_networks_share_the_levels_at_their_boundary(opened: Opened) -> None:
    folder = opened("a14b").folder
    levels = Schedule(folder.scheduler, 4, torch.device("cpu")).levels
    assert folder.boundary == BOUNDARY
    assert levels == sorted(levels, reverse=True)
    assert any(level >= BOUNDARY for level in levels)
    assert any(level < BOUNDARY for level in levels)


@pytest.mark.parametrize("kind", ["t2v", "ti2v"])
@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_decoding_in_chunks_of_time_is_exact(folders: Folders, kind: Kind, rows: int) -> None:
    path, pipeline = folders.written(kind)
    vae, ours = pipeline.vae, OpenPipeline(path, options=Options(decode_rows=rows))
    latents = torch.randn(vae.config.z_dim, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(each).view(-1, 1, 1, 1) for each in (vae.config.latents_mean, vae.config.latents_std))
    with torch.no_grad():
        whole = vae.decode((latents * std + mean)[None]).sample[0]
    chunks = list(ours.decode(latents))
    assert [chunk.shape[1] for chunk in chunks[:2]] == [1, 4 * min(rows, 4)]
    assert float((torch.cat(chunks, dim=1) - whole).abs().max()) <= 1e-5


def test_tiles_tell_their_seam(folders: Folders, plain: OpenPipeline) -> None:
    tiled = OpenPipeline(folders.path("t2v"), options=Options(tile=8))
    latents = torch.randn(4, 2, 12, 8, generator=torch.Generator().manual_seed(0))
    (video,) = tiled.decode(latents)
    whole = torch.cat(list(plain.decode(latents)), dim=1)
    assert tiled.seam is not None
    assert 0 < tiled.seam < 0.2
    assert float((video - whole).square().mean().sqrt()) < 0.2
    (alone,) = tiled.decode(latents[:, :, :8])
    assert tiled.seam == 0
    assert float((alone - torch.cat(list(plain.decode(latents[:, :, :8])), 1)).abs().max()) < 1e-5


@pytest.mark.parametrize("offload", [Offload.COMPONENTS, Offload.BLOCKS])
@pytest.mark.parametrize(("kind", "image"), [("a14b", False), ("i2v", True)])
def test_offloaded_weights_make_the_same_clip(
    folders: Folders, opened: Opened, kind: Kind, image: bool, offload: Offload
) -> None:
    request = replace(_request(kind, image), frames=5, steps=3)
    offloaded = OpenPipeline(folders.path(kind), options=Options(offload=offload))
    assert float((_ours(offloaded, request) - _ours(opened(kind), request)).abs().max()) <= 1e-5
    for part in offloaded.parts.values():
        assert not part.visiting


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("offload", Offload)
@pytest.mark.parametrize("kind", ["t2v", "a14b"])
def test_a_gpu_makes_a_near_clip_wherever_weights_lie(
    folders: Folders, opened: Opened, kind: Kind, offload: Offload
) -> None:
    options = Options(dtype=torch.float32, offload=offload)
    on_gpu = OpenPipeline(folders.path(kind), device="cuda", options=options)
    request = _request(kind, False)
    assert float((_ours(on_gpu, request).cpu() - _ours(opened(kind), request)).abs().mean()) <= 1e-2
    assert all(not part.visiting for part in on_gpu.parts.values())


def test_at_most_two_blocks_are_on_the_device(folders: Folders) -> None:
    offloaded = OpenPipeline(folders.path("t2v"), options=Options(offload=Offload.BLOCKS))
    turns, counts = offloaded.parts["transformer"].turns, []
    assert turns is not None
    for block in offloaded.parts["transformer"].module.blocks:  # type: ignore[union-attr]
        block.attn1.register_forward_hook(lambda *_: counts.append(sum(each.here for each in turns.blocks)))
    offloaded.denoise(replace(REQUEST, frames=1))
    assert max(counts) <= 2
    assert not any(block.here for block in turns.blocks)


def test_half_precision_keeps_the_levels_in_float32_and_makes_a_near_clip(
    folders: Folders, plain: OpenPipeline
) -> None:
    half = OpenPipeline(folders.path("t2v"), options=Options(dtype=torch.bfloat16))
    state = half.parts["transformer"].module.state_dict()
    assert state["condition_embedder.time_embedder.linear_1.weight"].dtype == torch.float32
    assert state["blocks.0.attn1.to_q.weight"].dtype == torch.bfloat16
    assert float((_ours(half, REQUEST) - _ours(plain, REQUEST)).abs().mean()) < 0.05


def test_a_clip_is_uint8_and_tells_its_steps(plain: OpenPipeline) -> None:
    steps: list[tuple[int, int]] = []
    clip = plain.generate(replace(REQUEST, frames=5), on_step=lambda done, total: steps.append((done, total)))
    assert (clip.shape, clip.dtype) == ((5, 32, 64, 3), np.uint8)
    assert steps == [(number, 4) for number in (1, 2, 3, 4)]


def test_a_clip_that_is_not_wanted_stops_between_steps(plain: OpenPipeline) -> None:
    asked = iter([False, False, True])
    done: list[int] = []
    with pytest.raises(SamplingStopped):
        plain.denoise(REQUEST, lambda step, _: done.append(step), lambda: next(asked))
    assert done == [1, 2]


@pytest.mark.parametrize(
    ("kind", "change", "error", "said"),
    [
        ("t2v", {"prompt": " "}, PromptError, "empty"),
        ("t2v", {"prompt": "a" * 200_000}, PromptError, "Shorten"),
        ("t2v", {"image": IMAGE}, TaskError, "Remove the image"),
        ("i2v", {}, TaskError, "Give an image"),
        ("t2v", {"guidance_2": 3.0}, TaskError, "guidance_2"),
        ("t2v", {"frames": 8}, ShapeError, "frames 8 .*Use 9"),
        ("t2v", {"height": 40}, ShapeError, "height 40 .*Use 32"),
        ("ti2v", {"width": 48}, ShapeError, "width 48 .*Use 64"),
        ("t2v", {"width": 1 << 40}, ShapeError, "to 16384"),
        ("t2v", {"steps": 0}, ShapeError, "steps"),
        ("t2v", {"seed": -1}, ShapeError, "seed"),
        ("ti2v", {"image": IMAGE[0]}, ShapeError, "uint8"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(
    opened: Opened, kind: Kind, change: dict[str, Any], error: type[ModelError], said: str
) -> None:
    with pytest.raises(error, match=said):
        opened(kind).denoise(replace(REQUEST, **change))


def test_a_long_prompt_is_cut_at_512_tokens_and_the_rest_is_told(folders: Folders, plain: OpenPipeline) -> None:
    long = "a " * 300 + "red ball"
    tokenizer = folders.written("t2v")[1].tokenizer
    expected = tokenizer(long, max_length=MAX_TOKENS, truncation=True).input_ids
    assert plain.tokenizer.ids(long) == expected
    reading = plain.reading(["short", long])
    assert (reading.tokens, reading.unseen) == (MAX_TOKENS, ())
    assert reading.cut.endswith("red ball")
    assert plain.reading(["a red ball"]).cut == ""


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_of_every_component_are_estimated_exactly(opened: Opened, kind: Kind) -> None:
    folder = opened(kind).folder
    for name, part in folder.parts.items():
        config = json.loads((folder.path / name / "config.json").read_text())
        assert parameters(name, config) == sum(p.numel() for p in part.module.parameters()), name


def test_weights_that_overflow_are_not_shown(folders: Folders, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(folders.path("t2v"), tmp_path / "copy")
    weights = load_file(tmp_path / "copy" / NETWORK)
    weights["proj_out.bias"][:] = torch.nan
    save_file(weights, tmp_path / "copy" / NETWORK)
    with pytest.raises(NotFinite):
        OpenPipeline(tmp_path / "copy").generate(replace(REQUEST, frames=1))


def test_weights_in_shards_and_of_older_names_are_read(folders: Folders, opened: Opened, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(folders.path("i2v"), tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "transformer")
    folders.written("i2v")[1].transformer.save_pretrained(tmp_path / "copy" / "transformer", max_shard_size="20KB")
    assert len(list((tmp_path / "copy" / "transformer").glob("*.safetensors"))) > 1
    vision = tmp_path / "copy" / "image_encoder" / "model.safetensors"
    save_file({f"vision_model.{name}": tensor for name, tensor in load_file(vision).items()}, vision)
    request = replace(_request("i2v", True), frames=1)
    difference = _ours(OpenPipeline(tmp_path / "copy"), request) - _ours(opened("i2v"), request)
    assert float(difference.abs().max()) <= 1e-5
