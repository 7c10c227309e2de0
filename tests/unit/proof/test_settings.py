"""Settings of the proof: what may be scaled, what is refused, and that every preset can show the whole world."""

from __future__ import annotations

import pytest

from kinema_evaluation import EvaluationPlan
from kinema_model.errors import ConfigError
from kinema_model.packing.planning import tokens_of
from kinema_model.packing.steps import Steps
from kinema_world import SceneKind, World
from kinema_world.source import WorldSource
from proof.settings import LESSONS, Settings


def test_a_hundredth_scales_seconds_and_clips_and_keeps_streams_of_ten_seconds() -> None:
    whole, part = (Settings.from_environment({"PROOF_SCALE": scale}) for scale in ("1", "0.01"))
    assert (whole.seconds, whole.clips, whole.stream_seconds) == (480, 128, 60)
    assert part.seconds == pytest.approx(4.8)
    assert (part.clips, part.stream_seconds) == (2, 10)
    assert (part.tokens, part.steps, part.rate) == (whole.tokens, whole.steps, whole.rate)
    EvaluationPlan(clips=part.clips, seconds=part.stream_seconds, steps=part.steps)


@pytest.mark.parametrize("preset", LESSONS)
def test_a_preset_streams_and_sees_all_of_the_world(preset: str) -> None:
    settings = Settings.from_environment({"PROOF_PRESET": preset})
    config, world = settings.config, settings.world
    assert config.streaming is not None
    assert set(world.wanted) == set(SceneKind)
    assert world.split == "train"
    assert max(world.shapes.frames) > config.streaming.chunk_frames
    Steps(WorldSource(World(world)), config, settings.tokens)
    for shape in world.largest_shapes():
        assert tokens_of(config.grid, shape) <= settings.tokens
        assert shape.frames <= config.max_frames


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"PROOF_PRESET": "huge"}, "Choose one of: small, tiny"),
        ({"PROOF_SCALE": "0"}, "PROOF_SCALE is '0'"),
        ({"PROOF_SECONDS": "long"}, "PROOF_SECONDS is 'long'"),
        ({"PROOF_TOKENS": "inf"}, "Give a number above 0"),
    ],
)
def test_what_cannot_be_is_refused(environment: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Settings.from_environment(environment)
