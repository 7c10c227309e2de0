import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kinema_model.config import PRESETS
from kinema_model.errors import ShapeError
from kinema_model.network.config import PUBLISHED, NetworkConfig
from kinema_model.network.flops import forward_flops, training_flops
from kinema_model.network.pack import Box, Pack, Part, Sample, pack_samples
from kinema_model.network.transformer import VideoTransformer
from unit.model.clips import small_network

pytestmark = pytest.mark.slow


TOLERANCE = 0.01
SMALL = small_network(width=48)
IMAGE = SMALL.model_copy(update={"image_dim": 40, "added_kv_proj_dim": 48})
MIXED: list[Box] = [(3, 2, 3), (1, 4, 1), (9, 4, 8), (3, 2, 3)]
LONG: list[Box] = [(20, 40, 40), (1, 30, 17), (11, 32, 16)]
TEXTS = (5, 1, 70, 7)


def _shallow(name: str) -> NetworkConfig:
    return PUBLISHED[name].model_copy(update={"num_layers": 3})


def _pack(config: NetworkConfig, boxes: list[Box], device: str, levels: int) -> Pack:
    """Clips of these boxes of patches, with as many distinct levels as asked for."""
    samples = []
    for number, (box, text) in enumerate(zip(boxes, TEXTS, strict=False)):
        size = [cells * side for cells, side in zip(box, config.patch_size, strict=True)]
        level = torch.full(box, (number % levels + 1) / 8)
        part = Part(torch.zeros(config.in_channels, *size), level, torch.arange(box[0]))
        image = None if config.image_dim is None else torch.zeros(3, config.image_dim)
        samples.append(Sample((part,), torch.zeros(text, config.text_dim), image))
    pack = pack_samples(samples, config.patch_size).to(device)
    # Gradients by patches are part of the count.
    pack.tokens.requires_grad_()
    return pack


def _counted(config: NetworkConfig, pack: Pack, device: str) -> tuple[int, int]:
    """FLOPs of a forward pass and of both passes as torch counts them, with attention as plain products."""
    with torch.device(device):
        network = VideoTransformer(config)
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            out = network(pack)
        with FlopCounterMode(display=False) as backward:
            out.sum().backward()
    return forward.get_total_flops(), forward.get_total_flops() + backward.get_total_flops()


@pytest.mark.parametrize(
    ("config", "boxes", "device", "levels"),
    [
        (SMALL, MIXED, "cpu", 4),
        (SMALL, MIXED[:1], "cpu", 1),
        (IMAGE, MIXED, "cpu", 2),
        (PRESETS["tiny"].network, MIXED, "cpu", 4),
        (PRESETS["small"].network, LONG, "meta", 3),
        (_shallow("wan2.1-t2v-1.3b"), LONG, "meta", 3),
        (_shallow("wan2.1-i2v-14b"), LONG, "meta", 1),
    ],
)
def test_formula_agrees_with_what_torch_counts(
    config: NetworkConfig, boxes: list[Box], device: str, levels: int
) -> None:
    pack = _pack(config, boxes, device, levels)
    images = pack.images.lengths if pack.images else ()
    lengths = (pack.clips.lengths, pack.texts.lengths, levels, images)
    forward, both = _counted(config, pack, device)
    assert forward_flops(config, *lengths) == pytest.approx(forward, rel=TOLERANCE)
    assert training_flops(config, *lengths) == pytest.approx(both, rel=TOLERANCE)


lengths = st.lists(st.tuples(st.integers(1, 999), st.integers(1, 99)), min_size=1, max_size=6)


@given(pairs=lengths)
def test_a_pack_costs_what_its_clips_cost(pairs: list[tuple[int, int]]) -> None:
    clips, texts = [n for n, _ in pairs], [m for _, m in pairs]
    apart = sum(forward_flops(SMALL, [n], [m], levels=0) for n, m in pairs)
    assert forward_flops(SMALL, clips, texts, levels=0) == apart
    if len(clips) > 1:
        assert forward_flops(SMALL, [sum(clips)], [sum(texts)], levels=0) > apart


@pytest.mark.parametrize(("texts", "images"), [([3], []), ([3, 4], [5])])
def test_lengths_that_do_not_pair_are_refused(texts: list[int], images: list[int]) -> None:
    with pytest.raises(ShapeError, match="Give one for each"):
        forward_flops(SMALL, [10, 20], texts, images=images)
