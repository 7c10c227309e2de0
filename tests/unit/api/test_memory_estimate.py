"""Memory of open weights: parameters are those of the modules, and a refusal names what would fit."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema_api.errors import BrokenFolder
from kinema_api.memory_estimate import GIB, ClipSize, Offload, fitting, memory_need, parameters, refusal
from kinema_model.network.config import PUBLISHED, NetworkConfig
from kinema_model.network.transformer import VideoTransformer
from kinema_model.open_weights import offload
from kinema_model.open_weights.native import usual

VAE: dict[str, Any] = {"z_dim": 16}
UMT5: dict[str, Any] = {
    "vocab_size": 256_384,
    "d_model": 4096,
    "d_ff": 10_240,
    "d_kv": 64,
    "num_heads": 64,
    "num_layers": 24,
}
VAE_22: dict[str, Any] = {
    "z_dim": 48,
    "base_dim": 160,
    "decoder_base_dim": 256,
    "is_residual": True,
    "patch_size": 2,
    "in_channels": 12,
    "out_channels": 12,
    "scale_factor_spatial": 16,
}
SMALL = ClipSize(81, 480, 832)
LARGE = ClipSize(121, 704, 1280)


def _configs(name: str) -> dict[str, dict[str, Any]]:
    network = PUBLISHED[name].to_diffusers()
    configs = {"transformer": network, "vae": VAE_22 if "5b" in name else VAE, "text_encoder": UMT5}
    return configs | ({"transformer_2": network} if "a14b" in name else {})


@cache
def _exact(config: NetworkConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in VideoTransformer(config, null_text=False).parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_network(name: str) -> None:
    assert parameters("transformer", PUBLISHED[name].to_diffusers()) == _exact(PUBLISHED[name])


def test_both_packages_have_the_same_words_for_offload() -> None:
    assert [each.value for each in Offload] == [each.value for each in offload.Offload]


@pytest.mark.parametrize(
    ("name", "size", "how", "gib", "said"),
    [
        ("wan2.1-t2v-1.3b", SMALL, Offload.COMPONENTS, 24, None),
        ("wan2.1-t2v-1.3b", SMALL, Offload.BLOCKS, 24, None),
        ("wan2.2-ti2v-5b", LARGE, Offload.BLOCKS, 24, None),
        ("wan2.1-t2v-1.3b", SMALL, Offload.NONE, 20, ": request [0-9]+ frames of"),
        ("wan2.1-t2v-14b", SMALL, Offload.NONE, 24, "use a device with"),
        ("wan2.2-a14b", LARGE, Offload.BLOCKS, 16, ": request [0-9]+ frames of"),
        ("wan2.1-t2v-1.3b", SMALL, Offload.BLOCKS, 8, "use a device with"),
    ],
)
def test_a_refusal_names_what_would_fit(name: str, size: ClipSize, how: Offload, gib: int, said: str | None) -> None:
    refused = refusal(_configs(name), size, how, gib * GIB)
    assert (refused is None) if said is None else (refused is not None and re.search(said, refused))


@pytest.mark.parametrize(
    ("name", "size", "gib", "how"),
    [
        ("wan2.1-t2v-1.3b", SMALL, 80, Offload.NONE),
        ("wan2.1-t2v-1.3b", SMALL, 20, Offload.COMPONENTS),
        ("wan2.1-t2v-14b", SMALL, 24, Offload.BLOCKS),
        ("wan2.2-a14b", LARGE, 16, Offload.BLOCKS),
    ],
)
def test_no_more_is_offloaded_than_is_needed(name: str, size: ClipSize, gib: int, how: Offload) -> None:
    assert fitting(_configs(name), size, gib * GIB) is how


@given(
    name=st.sampled_from(sorted(PUBLISHED)),
    frames=st.integers(1, 40),
    side=st.integers(1, 40),
    how=st.sampled_from(list(Offload)),
)
def test_a_larger_clip_never_needs_less(name: str, frames: int, side: int, how: Offload) -> None:
    configs = _configs(name)
    peaks = [
        memory_need(configs, ClipSize(1 + 4 * (frames + more), 32 * side, 32 * (side + more))).peak(how)
        for more in (0, 1)
    ]
    assert peaks[0] <= peaks[1]


@pytest.mark.parametrize(
    ("component", "field", "value"),
    [
        ("transformer", "num_layers", -1),
        ("transformer", "ffn_dim", "8960"),
        ("transformer", "num_attention_heads", True),
        ("transformer", "patch_size", []),
        ("vae", "dim_mult", 10**9),
        ("vae", "temperal_downsample", [True]),
        ("text_encoder", "d_model", None),
        ("text_encoder", "vocab_size", 10**30),
    ],
)
def test_a_config_without_a_size_is_refused_by_field(component: str, field: str, value: object) -> None:
    configs = _configs("wan2.1-t2v-1.3b")
    configs[component] = configs[component] | {field: value}
    with pytest.raises(BrokenFolder, match=field):
        memory_need(configs, SMALL)


ROW = re.compile(r"^\| Wan (2\.[12]) (?:T2V )?(\S+(?: \S+B)?) \|.*?\| (\d+) frames of (\d+)x(\d+) \|(.*)\|$", re.M)


def test_the_page_of_open_weights_has_these_estimates() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "serving-open-weights.md").read_text()
    rows = ROW.findall(page)
    published = {"1.3B": "wan2.1-t2v-1.3b", "14B": "wan2.1-t2v-14b", "TI2V 5B": "wan2.2-ti2v-5b", "A14B": "wan2.2-a14b"}
    assert [name for _, name, *_ in rows] == list(published)
    for _, name, frames, width, height, gibs in rows:
        configs, size = _configs(published[name]), ClipSize(int(frames), int(height), int(width))
        shape = usual(PUBLISHED[published[name]], 2 if name == "A14B" else 1).shapes[0]
        assert (shape.frames, shape.height, shape.width) == (size.frames, size.height, size.width)
        need = memory_need(configs, size)
        expected = [*(need.peak(each) for each in Offload), sum(need.weights.values())]
        assert re.findall(r"(\d+) GiB", gibs) == [f"{each / GIB:.0f}" for each in expected]
