"""What the API's rules say of a network's shape is what the model package can build."""

from __future__ import annotations

import pytest

from kinema_api.data import MAX_CLIP_FRAMES, MAX_CLIP_SIDE
from kinema_api.training import PATCH_SIDE, PRESET_CLIPS, PRESET_SHAPES
from kinema_model.config import PRESETS, ModelConfig
from kinema_model.errors import ConfigError


def test_the_presets_are_as_the_rules_have_them() -> None:
    networks = {name: preset.network for name, preset in PRESETS.items()}
    assert {name: (n.width, n.num_attention_heads) for name, n in networks.items()} == PRESET_SHAPES
    clips = {name: (p.frames, p.height, p.width_px, p.fps) for name, p in PRESETS.items()}
    assert clips == PRESET_CLIPS
    assert {preset.patch[1:] for preset in PRESETS.values()} == {(PATCH_SIDE, PATCH_SIDE)}
    assert all(preset.max_side <= MAX_CLIP_SIDE and preset.max_frames <= MAX_CLIP_FRAMES for preset in PRESETS.values())


@pytest.mark.parametrize(
    ("width", "heads"), [(width, heads) for width in (16, 20, 24, 128, 132, 384) for heads in (1, 2, 3, 4, 6, 64)]
)
def test_the_rule_for_heads_is_the_network_s_own(width: int, heads: int) -> None:
    allowed = width % (2 * heads) == 0 and width >= 6 * heads
    try:
        ModelConfig.from_preset("tiny", width=width, heads=heads)
    except ConfigError:
        assert not allowed
    else:
        assert allowed
