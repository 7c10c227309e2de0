"""Folders of Wan pipelines with random weights in tiny shapes, written by diffusers itself; nothing is downloaded."""

from __future__ import annotations

import string
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

Kind = Literal["t2v", "i2v", "a14b", "i2v-a14b", "ti2v"]
KINDS: tuple[Kind, ...] = ("t2v", "i2v", "a14b", "i2v-a14b", "ti2v")
TEXT_DIM = 24
BOUNDARY = 0.875


def write_wan_folder(folder: Path, kind: Kind, *, scheduler: Literal["unipc", "euler"] = "unipc") -> Any:
    """Write a folder of this kind and return diffusers' pipeline over the same weights."""
    from diffusers import WanImageToVideoPipeline, WanPipeline

    torch.manual_seed(KINDS.index(kind))
    z, conditioned = (8, False) if kind == "ti2v" else (4, "i2v" in kind)
    parts: dict[str, Any] = {
        "tokenizer": _tokenizer(),
        "text_encoder": _text_encoder(),
        "vae": _vae(z, residual=kind == "ti2v"),
        "scheduler": _scheduler(scheduler),
        "transformer": _network(2 * z + 4 if conditioned else z, z, image=kind == "i2v"),
    }
    if "a14b" in kind:
        parts |= {"transformer_2": _network(2 * z + 4 if conditioned else z, z), "boundary_ratio": BOUNDARY}
    if kind == "i2v":
        parts |= _clip()
    if kind == "ti2v":
        parts["expand_timesteps"] = True
    pipeline = (WanImageToVideoPipeline if conditioned else WanPipeline)(**parts)
    pipeline.save_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _awake(module: Any) -> Any:
    """Weights of such a spread that everything that a request says shows in a clip; initial ones hide most of it."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 and "table" not in name else 25
            parameter.normal_(std=fan_in**-0.5)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1)
    return module.eval()


def _network(in_channels: int, out_channels: int, *, image: bool = False) -> Any:
    from diffusers import WanTransformer3DModel

    network = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=in_channels,
        out_channels=out_channels,
        text_dim=TEXT_DIM,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        image_dim=16 if image else None,
        added_kv_proj_dim=24 if image else None,
    )
    return _awake(network)


def _vae(z: int, *, residual: bool) -> Any:
    from diffusers import AutoencoderKLWan

    wide: dict[str, Any] = {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12}
    vae = AutoencoderKLWan(
        base_dim=8,
        z_dim=z,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.1 * number for number in range(z)],
        latents_std=[1.0 + 0.1 * number for number in range(z)],
        scale_factor_spatial=16 if residual else 8,
        **(wide if residual else {}),
    )
    return vae.eval()


def _text_encoder() -> Any:
    from transformers import UMT5Config, UMT5EncoderModel

    shape = {"d_model": TEXT_DIM, "d_ff": 32, "d_kv": 8, "num_heads": 3, "num_layers": 2, "vocab_size": 64}
    return _awake(UMT5EncoderModel(UMT5Config(**shape)))


def _tokenizer() -> Any:
    from transformers import T5TokenizerFast

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    return T5TokenizerFast(vocab=[*special, *((letter, -3.0) for letter in string.ascii_lowercase)], extra_ids=0)


def _clip() -> dict[str, Any]:
    from transformers import CLIPVisionConfig, CLIPVisionModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        projection_dim=8,
    )
    processor = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    return {"image_encoder": _awake(CLIPVisionModel(config)), "image_processor": processor}


def _scheduler(kind: str) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    if kind == "euler":
        return FlowMatchEulerDiscreteScheduler(shift=3.0)
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


class Folders:
    """Folders by kind, each written once, beside diffusers' pipeline over the same weights."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.written = cache(self._written)

    def _written(self, kind: Kind, scheduler: Literal["unipc", "euler"] = "unipc") -> tuple[Path, Any]:
        path = self._root / f"{kind}-{scheduler}"
        return path, write_wan_folder(path, kind, scheduler=scheduler)

    def path(self, kind: Kind) -> Path:
        return self.written(kind)[0]
