import json

import pytest

from kinema_model.config import PRESETS, ModelConfig
from kinema_model.errors import BrokenArtefact, ConfigError, UnknownPreset
from unit.model.clips import small_network

STREAMING = {"places": "space", "streaming": {"chunk_frames": 4, "window_chunks": 2}}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_survive_json(name: str) -> None:
    config = ModelConfig.from_preset(name)
    assert config.preset == name
    assert ModelConfig.from_json(config.to_json()) == config


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(UnknownPreset, match="small, tiny"):
        ModelConfig.from_preset("enormous")


def test_overrides_replace_fields_and_leave_the_preset_alone() -> None:
    config = ModelConfig.from_preset("tiny", depth=2)
    assert config.network.num_layers == 2
    assert PRESETS["tiny"].network.num_layers != 2
    wider = ModelConfig.from_preset("tiny", width=192, heads=6).network
    assert (wider.width, wider.num_attention_heads, wider.ffn_dim) == (192, 6, 768)


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"width": 99}, "heads"),
        ({"width": 100}, "attention_head_dim"),
        ({"frames": 0}, "frames"),
        ({"height": 25}, "height"),
        ({"width": 12}, "attention_head_dim"),
        ({"places": "none"}, "in_channels"),
        ({"colour": "red"}, "colour"),
        ({"frames": 100}, "max_frames"),
        ({"prediction": "noise"}, "prediction"),
        ({"rates": [12, 24]}, "have the clip's own, 8, among them"),
        ({"streaming": {"chunk_frames": 4, "window_chunks": 2}}, "set places to 'space' or 'none'"),
        ({**STREAMING, "streaming": {"chunk_frames": 0, "window_chunks": 2}}, "chunk_frames"),
        (
            {**STREAMING, "streaming": {"chunk_frames": 4, "window_chunks": 2, "reference_frames": 5}},
            "must not exceed streaming.chunk_",
        ),
        ({**STREAMING, "streaming": {"chunk_frames": 4, "window_chunks": 2, "context_level": 1}}, "context_level"),
    ],
)
def test_overrides_that_do_not_fit_are_named(overrides: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        ModelConfig.from_preset("tiny", **overrides)


def test_chunks_are_whole_patches() -> None:
    streaming = {"chunk_frames": 4, "window_chunks": 2, "reference_frames": 2}
    fields = {**ModelConfig.from_preset("tiny").model_dump(), "network": small_network((2, 4, 4)), "places": "space"}
    assert ModelConfig.model_validate({**fields, "streaming": streaming}).streaming is not None
    with pytest.raises(ValueError, match="chunk_frames 3 must be a multiple"):
        ModelConfig.model_validate({**fields, "streaming": {**streaming, "chunk_frames": 3}})


def test_a_file_from_before_streaming_still_loads() -> None:
    fields = json.loads(ModelConfig.from_preset("tiny").to_json())
    del fields["streaming"]
    assert ModelConfig.from_json(json.dumps(fields)).streaming is None


def test_tokens_per_clip_counts_patches() -> None:
    config = ModelConfig.from_preset("tiny", frames=8, height=24, width_px=48)
    assert config.tokens_per_clip == 8 * 3 * 6
    assert config.model_copy(update={"network": small_network((2, 8, 8))}).tokens_per_clip == 4 * 3 * 6


@pytest.mark.parametrize("content", ["{", "[]", '{"preset": "tiny"}', "\xff"])
def test_a_broken_config_file_is_named(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    path = tmp_path_factory.mktemp("model") / "kinema.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(BrokenArtefact, match=r"kinema\.json"):
        ModelConfig.from_file(path)
